// SPDX-License-Identifier: Apache-2.0
#include "tests/golden/format_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tiers/cold/wait_for.h"

namespace cairn::test {
namespace {

constexpr WallMicros kYear2100 = 4'102'444'800'000'000;

NamespaceDescriptor blocks() {
  return {.name = "llama-3-8b",
          .model = "meta-llama/Meta-Llama-3-8B",
          .revision = "r1",
          .dtype = Dtype::bf16,
          .layout = {32, 2, 16, 8, 128},
          .tokens_per_block = 16,
          .hash_scheme = "native",
          .tenant_salt = "salt"};
}
NamespaceDescriptor values() {
  return {.name = "default", .kind = NamespaceKind::mutable_};
}
NamespaceDescriptor cleared() {
  return {.name = "cleared"};
}

/// Mostly zeros, so that a whole sealed segment packs into little: every 64 KiB begin with bytes
/// of their own.
std::string payload_of(std::string_view key, std::uint64_t version, std::size_t bytes) {
  std::string payload(bytes, '\0');
  for (std::size_t at = 0; at < bytes; at += 64 * kKiB) {
    const std::size_t length = std::min<std::size_t>(128, bytes - at);
    const std::uint64_t seed = payload_seed(concat(key, "@", at), version);
    for (std::size_t i = 0; i < length; i += 8) {
      const std::uint64_t word = dense_word(seed, i / 8);
      std::memcpy(payload.data() + at + i, &word, std::min<std::size_t>(8, length - i));
    }
  }
  return payload;
}

struct Expected {
  std::string key;
  Part part = 0;
  std::uint64_t version = 0;  // of payload_of
  std::size_t bytes = 0;
};

/// What lives in the chain: two segments' worth of large blocks, small ones, an empty one.
std::vector<Expected> chain() {
  std::vector<Expected> out;
  for (std::uint64_t i = 0; i < 18; ++i) out.push_back({concat("large-", i), 0, 1, 300'000 + i});
  for (std::uint64_t i = 0; i < 20; ++i) out.push_back({concat("small-", i), 7, 1, 100 + i * 900});
  out.push_back({"empty", 0, 1, 0});
  out.push_back({std::string(kKeyLengthMax, 'K'), 65535, 1, 5000});
  return out;
}

std::vector<Expected> replaced() {
  std::vector<Expected> out;
  for (std::uint64_t i = 0; i < 8; ++i) out.push_back({concat("value-", i), 0, 3, 2000 + i});
  return out;
}

class Writer {
 public:
  explicit Writer(OpenedStoreDirectory& store) : store_(store), tier_(store.tier()) {}

  BlockId put(NamespaceId ns, const Expected& block, BlockId parent = {}, WallMicros expiry = 0) {
    const std::string payload = payload_of(block.key, block.version, block.bytes);
    const auto size = static_cast<std::uint32_t>(block.bytes);
    TierWrite write;
    CAIRN_CHECK(tier_.reserve(ns, {&size, 1}, {&write.location, 1}).ok());
    write.name = {ns, block.key, block.part};
    write.id = block_id(write.name, tier_.block_id_secret());
    write.payload = as_bytes(payload);
    write.facts = {.sequence = tier_.next_sequence(),
                   .plain_bytes = size,
                   .plain_sum = xxh3_64(as_bytes(payload)),
                   .expiry = expiry,
                   .parent = parent};
    wait([&](Done done) { tier_.write({&write, 1}, Durability::durable, std::move(done)); });
    CAIRN_CHECK(write.status.ok());
    return write.id;
  }
  void remove(NamespaceId ns, std::string_view key, RemovalReason reason) {
    Removal removal{
        .name = {ns, key, 0}, .sequence = tier_.next_sequence(), .reason = reason, .status = {}};
    wait([&](Done done) { tier_.remove({&removal, 1}, Durability::durable, std::move(done)); });
    CAIRN_CHECK(removal.status.ok());
  }
  void pin(NamespaceId ns, std::string_view key) {
    Note note{.name = {ns, key, 0},
              .sequence = lookup(ns, key, 0)->facts.sequence,
              .expiry = {},
              .pinned = true,
              .status = {}};
    wait([&](Done done) { tier_.annotate({&note, 1}, Durability::durable, std::move(done)); });
    CAIRN_CHECK(note.status.ok());
  }
  std::optional<StoredBlock> lookup(NamespaceId ns, std::string_view key, Part part) {
    StoredLookup lookup{.name = {ns, key, part}, .found = {}, .status = {}};
    wait([&](Done done) { tier_.lookup({&lookup, 1}, std::move(done)); });
    EXPECT_TRUE(lookup.status.ok()) << lookup.status;
    return lookup.found;
  }
  std::optional<std::string> get(NamespaceId ns, std::string_view key, Part part) {
    const std::optional<StoredBlock> stored = lookup(ns, key, part);
    if (!stored) return std::nullopt;
    std::string bytes(stored->facts.plain_bytes, '\0');
    TierRead read;
    read.location = stored->location;
    read.name = {ns, key, part};
    read.sequence = stored->facts.sequence;
    read.plain_sum = stored->facts.plain_sum;
    read.destination = std::as_writable_bytes(std::span(bytes));
    wait([&](Done done) { tier_.read({&read, 1}, std::move(done)); });
    EXPECT_TRUE(read.status.ok()) << key << ": " << read.status;
    EXPECT_EQ(xxh3_64(as_bytes(bytes)), stored->facts.plain_sum) << key;
    return bytes;
  }

 private:
  template <typename Start>
  void wait(Start&& start) {
    tiers::wait_for(std::forward<Start>(start), [this] { store_.pump(); });
  }

  OpenedStoreDirectory& store_;
  DurableTier& tier_;
};

std::optional<NamespaceId> find(DurableTier& tier, const NamespaceDescriptor& wanted) {
  for (const NamespaceInfo& info : tier.namespaces()) {
    if (info.descriptor.name != wanted.name) continue;
    EXPECT_EQ(info.descriptor, wanted);
    return info.id;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenedStoreDirectory>> OpenedStoreDirectory::open(
    const std::string& directory, tiers::StoreMode mode) {
  std::unique_ptr<OpenedStoreDirectory> store(new OpenedStoreDirectory);
  CAIRN_ASSIGN_OR_RETURN(
      store->device_,
      tiers::open_device(
          directory, {.choice = tiers::DeviceChoice::posix, .posix_threads = 2, .direct = false}));
  store->loop_ = std::make_unique<EventLoop>(system_clock(), store->device_.get());
  tiers::ColdOptions options;
  options.directory = directory;
  options.mode = mode;
  options.cold_bytes = 40 * kMiB;
  options.codec = CodecUse::off;  // the fixture has blocks as they are
  OpenedStoreDirectory* const self = store.get();
  CAIRN_ASSIGN_OR_RETURN(store->tier_,
                         tiers::open_cold_tier(options, {.device = self->device_.get(),
                                                         .io_loop = self->loop_.get(),
                                                         .index_loop = self->loop_.get(),
                                                         .pump = [self] { self->pump(); }}));
  return store;
}

OpenedStoreDirectory::~OpenedStoreDirectory() {
  if (tier_ != nullptr) tier_->close();
  tier_.reset();
}

void OpenedStoreDirectory::pump() {
  loop_->run_once(Duration::millis(1));
}

void write_store(OpenedStoreDirectory& store) {
  DurableTier& tier = store.tier();
  Writer writer(store);
  const NamespaceId content = tier.open_namespace(blocks())->id;
  const NamespaceId mutables = tier.open_namespace(values())->id;
  const NamespaceId gone = tier.open_namespace(cleared())->id;
  BlockId parent;
  for (const Expected& block : chain()) parent = writer.put(content, block, parent);
  for (std::uint64_t version = 1; version <= 3; ++version) {
    for (Expected block : replaced()) {
      block.version = version;
      writer.put(mutables, block, {}, block.key == "value-0" ? kYear2100 : 0);
    }
  }
  writer.pin(content, "large-0");
  writer.put(content, {"erased", 0, 1, 3000});
  writer.put(mutables, {"erased", 0, 1, 3000});
  writer.put(content, {"evicted", 0, 1, 3000});
  writer.remove(content, "erased", RemovalReason::erased);
  writer.remove(mutables, "erased", RemovalReason::erased);
  writer.remove(content, "evicted", RemovalReason::evicted);
  writer.put(gone, {"cleared", 0, 1, 3000});
  CAIRN_CHECK(tier.clear_namespace(gone).ok());
  CAIRN_CHECK(tier.save_state("hot-list", as_bytes("what was hot")).ok());
}

void check_store(OpenedStoreDirectory& store, bool rebuilt) {
  DurableTier& tier = store.tier();
  Writer reader(store);
  const auto content = find(tier, blocks());
  const auto mutables = find(tier, values());
  const auto gone = find(tier, cleared());
  ASSERT_TRUE(content && mutables && gone);
  BlockId parent;
  for (const Expected& block : chain()) {
    EXPECT_EQ(reader.get(*content, block.key, block.part),
              payload_of(block.key, block.version, block.bytes));
    const auto stored = reader.lookup(*content, block.key, block.part);
    ASSERT_TRUE(stored.has_value()) << block.key;
    EXPECT_EQ(stored->facts.parent, parent) << block.key;
    EXPECT_EQ(stored->facts.pinned, block.key == "large-0");
    parent = block_id({*content, block.key, block.part}, tier.block_id_secret());
    EXPECT_EQ(stored->id, parent);
  }
  for (const Expected& block : replaced()) {
    EXPECT_EQ(reader.get(*mutables, block.key, 0), payload_of(block.key, 3, block.bytes));
    const auto stored = reader.lookup(*mutables, block.key, 0);
    ASSERT_TRUE(stored.has_value());
    EXPECT_EQ(stored->facts.expiry, block.key == "value-0" ? kYear2100 : 0);
  }
  EXPECT_FALSE(reader.get(*content, "erased", 0).has_value());
  EXPECT_FALSE(reader.get(*mutables, "erased", 0).has_value());
  EXPECT_FALSE(reader.get(*gone, "cleared", 0).has_value());
  if (!rebuilt) {
    EXPECT_FALSE(reader.get(*content, "evicted", 0).has_value());
  }
  const auto state = tier.load_state("hot-list");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(*state, "what was hot");
}

// A pack: for each file its path and length, and the pages that are not zero; numbers as u32/u64.
std::string pack_directory(const std::string& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::recursive_directory_iterator(directory)) {
    if (file.is_regular_file()) files.push_back(file.path());
  }
  std::sort(files.begin(), files.end());
  std::string out;
  for (const auto& file : files) {
    std::ostringstream text;
    text << std::ifstream(file, std::ios::binary).rdbuf();
    const std::string content = text.str();
    const std::string name = std::filesystem::relative(file, directory).string();
    std::string pages;
    std::uint32_t count = 0;
    for (std::size_t at = 0; at < content.size(); at += 4096) {
      std::string page = content.substr(at, 4096);
      const std::size_t end = page.find_last_not_of('\0');
      if (end == std::string::npos) continue;
      page.resize(end + 1);
      append_le(pages, static_cast<std::uint32_t>(at / 4096));
      append_le(pages, static_cast<std::uint32_t>(page.size()));
      pages += page;
      ++count;
    }
    append_le(out, static_cast<std::uint32_t>(name.size()));
    out += name;
    append_le(out, std::uint64_t{content.size()});
    append_le(out, count);
    out += pages;
  }
  return out;
}

void unpack_directory(const std::string& pack, const std::string& directory) {
  std::size_t at = 0;
  const auto number = [&](auto width) {
    using T = decltype(width);
    CAIRN_CHECK(at + sizeof(T) <= pack.size());
    const T value = load_le<T>(as_bytes(pack), at);
    at += sizeof(T);
    return value;
  };
  for (const std::string_view name : {"index", "segments", "state", "lost+found"}) {
    std::filesystem::create_directories(std::filesystem::path(directory) / name);
  }
  while (at < pack.size()) {
    const auto name_length = number(std::uint32_t{});
    const std::string name = pack.substr(at, name_length);
    at += name_length;
    std::string content(number(std::uint64_t{}), '\0');
    for (std::uint32_t pages = number(std::uint32_t{}); pages > 0; --pages) {
      const std::size_t offset = std::size_t{number(std::uint32_t{})} * 4096;
      const auto length = number(std::uint32_t{});
      content.replace(offset, length, pack, at, length);
      at += length;
    }
    const std::filesystem::path path = std::filesystem::path(directory) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
}

}  // namespace cairn::test
