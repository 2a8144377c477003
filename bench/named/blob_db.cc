// SPDX-License-Identifier: Apache-2.0
#include "bench/named/blob_db.h"

#include <rocksdb/db.h>
#include <rocksdb/table.h>

#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

absl::Status from_blob_db(const rocksdb::Status& status) {
  return status.ok() ? absl::OkStatus()
                     : make_error(ErrorCode::io, concat("BlobDB: ", status.ToString()));
}

class BlobDbImpl final : public BlobDb {
 public:
  explicit BlobDbImpl(rocksdb::DB* db) : db_(db) {}
  absl::Status put(std::string_view key, ByteSpan value) override {
    return from_blob_db(
        db_->Put({}, slice(key), {reinterpret_cast<const char*>(value.data()), value.size()}));
  }
  absl::StatusOr<bool> get(std::string_view key, std::string& value) override {
    const rocksdb::Status status = db_->Get({}, slice(key), &value);
    if (status.IsNotFound()) return false;
    CAIRN_RETURN_IF_ERROR(from_blob_db(status));
    return true;
  }
  absl::Status flush() override { return from_blob_db(db_->Flush({})); }

 private:
  static rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlobDb>> BlobDb::open(const std::string& directory) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.enable_blob_files = true;
  options.min_blob_size = 4096;
  options.blob_file_size = 256 * kMiB;
  options.blob_compression_type = rocksdb::kNoCompression;
  options.compression = rocksdb::kNoCompression;
  options.use_direct_reads = true;
  options.use_direct_io_for_flush_and_compaction = true;
  options.write_buffer_size = 64 * kMiB;
  options.max_write_buffer_number = 4;
  options.max_background_jobs = 2;
  rocksdb::DB* db = nullptr;
  CAIRN_RETURN_IF_ERROR(from_blob_db(rocksdb::DB::Open(options, directory, &db)));
  return std::make_unique<BlobDbImpl>(db);
}

std::string BlobDb::how() {
  return "RocksDB 7.8.3 integrated BlobDB: min_blob_size 4 KiB, direct reads, direct flush, 64 MiB "
         "write buffers x 4, "
         "no compression, WAL on, not synced";
}

}  // namespace cairn::bench
