// SPDX-License-Identifier: Apache-2.0
// Writes the seeds of the corpora into tests/fuzz/corpus: one sound input of each kind.
//   fuzz_make_corpus tests/fuzz/corpus
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/hot_list.h"
#include "engine/tokens/token_tree_saved.h"
#include "tiers/codec/plane_codec.h"
#include "tiers/cold/index_codec.h"
#include "tiers/cold/state_file.h"
#include "tiers/cold/superblock.h"
#include "tiers/record/record.h"

namespace {

using namespace cairn;  // a tool of one file
using namespace cairn::tiers;

const StoreUuid kStore{1, 2, 3};

std::string record(RecordKind kind, std::size_t payload_bytes) {
  const std::string key = "a key of thirty-two bytes, hashed";
  const std::string payload(payload_bytes, 'p');
  const auto plain = static_cast<std::uint32_t>(payload_bytes);
  const RecordLayout layout = lay_out_record(key.size(), plain, kOpaqueChunkBytes);
  std::vector<ChunkEntry> chunks(layout.chunk_count);
  sum_chunks(as_bytes(payload), kOpaqueChunkBytes, chunks);
  RecordFields f;
  f.kind = kind;
  f.store = kStore;
  f.segment = static_cast<SegmentId>(3);
  f.generation = 2;
  f.offset = 2 * kPage;
  f.sequence = 100;
  f.namespace_id = static_cast<NamespaceId>(1);
  f.key = key;
  f.chunk_bytes = kOpaqueChunkBytes;
  f.plain_length = f.payload_length = plain;
  f.payload_offset = layout.payload_offset;
  f.chunk_table = std::as_bytes(std::span(chunks));
  f.header_length = layout.header_length;
  std::string bytes(layout.payload_offset, '\0');
  encode_record_header(f, std::as_writable_bytes(std::span(bytes)));
  bytes.resize(layout.header_length);
  return bytes + payload.substr(0, 200);
}

std::string segment_header() {
  SegmentHeader header;
  header.store = kStore;
  header.segment = 3;
  header.segment_bytes = kSegmentBytesMin;
  std::string page(kPage, '\0');
  encode_segment_header(header, std::as_writable_bytes(std::span(page)));
  return page.substr(0, sizeof(SegmentHeader));
}

std::string footer() {
  const std::string headers = record(RecordKind::tombstone, 0) + record(RecordKind::note, 0);
  SegmentFooter footer;
  footer.store = kStore;
  footer.segment = 3;
  footer.record_count = 2;
  const std::uint64_t bytes = footer_bytes(headers.size());
  std::string out(bytes, '\0');
  encode_footer(footer, as_bytes(headers), kSegmentBytesMin - bytes,
                std::as_writable_bytes(std::span(out)));
  return out;
}

std::string superblock(bool sealed) {
  Superblock s;
  s.store = kStore;
  s.segment_bytes = kSegmentBytesMin;
  s.next_namespace_id = 3;
  s.data_directories.push_back({.device = 0, .uuid = kStore, .path = ""});
  s.namespaces.push_back({static_cast<NamespaceId>(1), 2, {.name = "llama", .model = "m"}});
  s.namespaces.push_back(
      {static_cast<NamespaceId>(2), 0, {.name = "default", .kind = NamespaceKind::mutable_}});
  const std::string bytes = encode_superblock(s);
  return sealed ? bytes : bytes.substr(0, bytes.size() - sizeof(Hash128));
}

/// Numbers around one, as codec_fuzz.cc reads them: encoding, plain length, stored bytes.
std::string chunk(Dtype dtype, std::size_t plain_bytes) {
  std::vector<std::byte> plain(plain_bytes), stored(plain_bytes);
  for (std::size_t i = 0; i < plain_bytes; ++i) {
    const std::size_t noise = (i * 2654435761U) >> 13;
    plain[i] = static_cast<std::byte>(i % 2 == 0 ? noise : 0x3d + noise % 4);
  }
  const EncodedChunk encoded = ChunkEncoder(plain_bytes).encode(dtype, plain, stored);
  std::string out;
  append_le(out, static_cast<std::uint32_t>(plain_bytes << 8 |
                                            static_cast<std::uint32_t>(encoded.encoding)));
  return out + std::string(as_text(ByteSpan(stored).first(encoded.stored_bytes)));
}

SavedTokenTree token_tree() {
  SavedTokenTree tree{.block_tokens = 2, .roots = {{1, 2}, {3, 4}}, .blocks = {}, .tokens = {}};
  tree.blocks = {{{{5, 6}}, 0, 0, true},
                 {{{7, 8}}, 0, 1, false},
                 {{{9, 1}}, 0, 2, true},
                 {{{2, 3}}, 0, 1, true},
                 {{{4, 5}}, 1, 0, true}};
  tree.tokens = {1, 2, 300, 4, 5, 6, 70000, 8, 1U << 24, 10};
  return tree;
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_make_corpus DIRECTORY\n");
    return 2;
  }
  const std::filesystem::path root = argv[1];
  for (const Dtype dtype : {Dtype::opaque, Dtype::bf16, Dtype::fp8_e4m3, Dtype::fp32}) {
    write(root / "codec" / std::string(dtype_name(dtype)), chunk(dtype, 2049));
  }
  write(root / "record/block", record(RecordKind::block, 70000));
  write(root / "record/small", record(RecordKind::block, 100));
  write(root / "record/empty", record(RecordKind::block, 0));
  write(root / "record/tombstone", record(RecordKind::tombstone, 0));
  write(root / "record/note", record(RecordKind::note, 0));
  write(root / "record/segment_header", segment_header());
  write(root / "record/footer", footer());
  IndexEntry entry;
  entry.facts.expiry = 5;
  entry.facts.parent.hash = {1, 2};
  write(root / "record/index_entry", encode_index_entry(entry));
  write(root / "record/index_counters", encode_counters({.evicted = 3}));
  write(root / "superblock/sealed", superblock(true));
  write(root / "superblock/unsealed", superblock(false));
  const std::string state = encode_state(kStore, "hot-list", as_bytes("some content"));
  write(root / "state/sealed", state);
  write(root / "state/unsealed", state.substr(0, state.size() - sizeof(Hash128)));
  write(root / "text/trace_line",
        R"({"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]})");
  write(root / "text/hot_list", detail::encode_hot_list({{{1, 2}}, {{3, 4}}}));
  const std::string tree = encode_token_tree(token_tree());
  write(root / "token_tree/sealed", tree);
  write(root / "token_tree/unsealed", tree.substr(0, tree.size() - sizeof(Hash128)));
  write(root / "token_tree/empty", encode_token_tree({.block_tokens = 16}));
  return 0;
}
