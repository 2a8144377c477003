// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_disk.h"

#include <algorithm>
#include <cerrno>

#include "tests/support/sim_disk_state.h"

namespace cairn::test {

using tiers::OpenMode;

SimDisk::SimDisk(SimDiskOptions options)
    : faults_(options.seed ^ 0x6661756c74ULL),
      options_(options),
      rng_(options.seed),
      now_(std::make_unique<Names>()),
      durable_(std::make_unique<Names>()) {}

SimDisk::~SimDisk() = default;

// --- time of death -------------------------------------------------------------------------

void SimDisk::set_on_mutation(std::function<void(std::uint64_t, Mutation)> hook) {
  hook_ = std::move(hook);
}

std::uint64_t SimDisk::mutations() const {
  MutexLock lock(mutex_);
  return mutations_;
}

void SimDisk::freeze_at(std::uint64_t mutation) {
  MutexLock lock(mutex_);
  freeze_at_ = mutation;
}

void SimDisk::freeze() {
  MutexLock lock(mutex_);
  frozen_ = true;
}

bool SimDisk::frozen() const {
  MutexLock lock(mutex_);
  return frozen_;
}

SimDisk::Verdict SimDisk::begin(Mutation kind) {
  std::uint64_t number = 0;
  {
    MutexLock lock(mutex_);
    if (frozen_) return Verdict::dead;
    number = ++mutations_;
    if (number == freeze_at_) frozen_ = true;
  }
  if (hook_) hook_(number, kind);
  return frozen() ? Verdict::in_flight : Verdict::go_on;
}

// --- names ---------------------------------------------------------------------------------

int SimDisk::open(const std::string& path, OpenMode mode, SimFile* file) {
  return open_or_create(path, mode, false, file);
}

int SimDisk::open_truncated(const std::string& path, SimFile* file) {
  const bool exists = find(normal_path(path)) != nullptr;
  return open_or_create(path, exists ? OpenMode::read_write : OpenMode::create, exists, file);
}

int SimDisk::open_or_create(const std::string& raw_path, OpenMode mode, bool truncate,
                            SimFile* file) {
  const std::string path = normal_path(raw_path);
  if (frozen()) return EIO;
  SimFile found = find(path);
  if (mode == OpenMode::create) {
    if (found != nullptr) return EEXIST;
    found = std::make_shared<SimInode>();
    const int error = change_name({NameChange::Kind::create, "", path, found});
    if (error != 0) return error;
  } else if (found == nullptr) {
    return is_directory(path) ? EISDIR : ENOENT;
  }
  {
    MutexLock lock(mutex_);
    open_files_.insert(found);
  }
  if (truncate && length(found) > 0) {
    if (const int error = resize(found, 0); error != 0) {
      close(found);
      return error;
    }
  }
  *file = std::move(found);
  return 0;
}

void SimDisk::close(const SimFile& file) {
  MutexLock lock(mutex_);
  const auto open = open_files_.find(file);
  CAIRN_CHECK(open != open_files_.end());
  open_files_.erase(open);
}

int SimDisk::remove(const std::string& raw_path) {
  const std::string path = normal_path(raw_path);
  const SimFile file = find(path);
  if (file == nullptr) return is_directory(path) ? EISDIR : ENOENT;
  return change_name({NameChange::Kind::remove, path, "", file});
}

int SimDisk::rename(const std::string& raw_from, const std::string& raw_to) {
  const std::string from = normal_path(raw_from);
  const std::string to = normal_path(raw_to);
  if (const SimFile file = find(from)) {
    if (is_directory(to)) return EISDIR;
    return change_name({NameChange::Kind::rename, from, to, file});
  }
  if (!is_directory(from)) return ENOENT;
  if (find(to) != nullptr || is_directory(to)) return EEXIST;
  return change_name({NameChange::Kind::rename_directory, from, to, nullptr});
}

int SimDisk::link(const std::string& from, const std::string& to) {
  const SimFile file = find(normal_path(from));
  if (file == nullptr) return ENOENT;
  if (find(normal_path(to)) != nullptr) return EEXIST;
  return change_name({NameChange::Kind::create, "", normal_path(to), file});
}

int SimDisk::make_directory(const std::string& raw_path) {
  const std::string path = normal_path(raw_path);
  if (frozen()) return EIO;
  if (is_directory(path) || find(path) != nullptr) return EEXIST;
  return change_name({NameChange::Kind::make_directory, "", path, nullptr});
}

int SimDisk::remove_directory(const std::string& raw_path) {
  const std::string path = normal_path(raw_path);
  std::vector<tiers::DirectoryEntry> entries;
  if (const int error = list(path, &entries); error != 0) return error;
  if (!entries.empty()) return ENOTEMPTY;
  return change_name({NameChange::Kind::remove_directory, path, "", nullptr});
}

int SimDisk::change_name(NameChange change) {
  {
    MutexLock lock(mutex_);
    if (frozen_) return EIO;
    if (!change.to.empty() && !parent_exists(change.to)) return ENOENT;
  }
  const Verdict verdict = begin(change.mutation());
  if (verdict == Verdict::dead) return EIO;
  MutexLock lock(mutex_);
  now_->apply(change);
  unsynced_names_.push_back(std::move(change));
  return verdict == Verdict::in_flight ? EIO : 0;
}

int SimDisk::sync_directory(const std::string& raw_path) {
  const std::string path = normal_path(raw_path);
  if (frozen()) return EIO;
  if (!is_directory(path)) return ENOENT;
  if (begin(Mutation::sync_directory) != Verdict::go_on) return EIO;
  MutexLock lock(mutex_);
  std::erase_if(unsynced_names_, [&](const NameChange& change) {
    if (!change.touches(path)) return false;
    durable_->apply(change);
    return true;
  });
  return 0;
}

int SimDisk::list(const std::string& raw_path, std::vector<tiers::DirectoryEntry>* entries) const {
  const std::string path = normal_path(raw_path);
  MutexLock lock(mutex_);
  if (frozen_) return EIO;
  if (!now_->directories.contains(path)) return now_->files.contains(path) ? ENOTDIR : ENOENT;
  entries->clear();
  for (const auto& [name, file] : now_->files) {
    if (parent_path(name) == path) entries->push_back({name.substr(name.rfind('/') + 1), false});
  }
  for (const std::string& name : now_->directories) {
    if (name != "/" && parent_path(name) == path) {
      entries->push_back({name.substr(name.rfind('/') + 1), true});
    }
  }
  std::sort(entries->begin(), entries->end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return 0;
}

int SimDisk::info(const std::string& path, tiers::FileInfo* info) const {
  const SimFile file = find(normal_path(path));
  MutexLock lock(mutex_);
  if (frozen_) return EIO;
  if (file == nullptr) return now_->directories.contains(normal_path(path)) ? EISDIR : ENOENT;
  *info = {file->now().length(), file->now().allocated_bytes()};
  return 0;
}

bool SimDisk::is_directory(const std::string& path) const {
  MutexLock lock(mutex_);
  return now_->directories.contains(normal_path(path));
}

bool SimDisk::parent_exists(const std::string& path) const {
  return now_->directories.contains(parent_path(path));
}

SimFile SimDisk::find(const std::string& path) const {
  MutexLock lock(mutex_);
  const auto found = now_->files.find(path);
  return found == now_->files.end() ? nullptr : found->second;
}

// --- content -------------------------------------------------------------------------------

int SimDisk::read(const SimFile& file, std::uint64_t offset, MutableByteSpan target,
                  std::size_t* got) const {
  MutexLock lock(mutex_);
  if (frozen_) return EIO;
  if (!file->now().can_read(offset, target.size())) return EIO;
  *got = file->now().read(offset, target);
  return 0;
}

int SimDisk::write(const SimFile& file, std::uint64_t offset, ByteSpan bytes,
                   std::size_t* written) {
  *written = 0;
  const Verdict verdict = begin(Mutation::write);
  if (verdict == Verdict::dead) return EIO;
  MutexLock lock(mutex_);
  const std::uint64_t asked = bytes.size();
  while (!bytes.empty() && file->now().pages_missing(offset, bytes.size()) > free_pages()) {
    const std::uint64_t last_page = (offset + bytes.size() - 1) / kSimPage * kSimPage;
    bytes = bytes.first(last_page > offset ? last_page - offset : 0);
  }
  if (bytes.empty() && asked > 0) return ENOSPC;
  file->change({SimInode::Unsynced::Kind::write, writes_++, offset, std::string(as_text(bytes))});
  *written = bytes.size();
  return verdict == Verdict::in_flight ? EIO : 0;
}

int SimDisk::resize(const SimFile& file, std::uint64_t bytes) {
  const Verdict verdict = begin(Mutation::resize);
  if (verdict == Verdict::dead) return EIO;
  MutexLock lock(mutex_);
  file->change({SimInode::Unsynced::Kind::resize, writes_++, bytes, {}});
  return verdict == Verdict::in_flight ? EIO : 0;
}

int SimDisk::allocate(const SimFile& file, std::uint64_t bytes) {
  const Verdict verdict = begin(Mutation::resize);
  if (verdict == Verdict::dead) return EIO;
  MutexLock lock(mutex_);
  if (file->now().pages_missing(0, bytes) > free_pages()) return ENOSPC;
  file->change({SimInode::Unsynced::Kind::allocate, writes_++, bytes, {}});
  return verdict == Verdict::in_flight ? EIO : 0;
}

std::uint64_t SimDisk::write_marker() const {
  MutexLock lock(mutex_);
  return writes_;
}

int SimDisk::sync(const SimFile& file, std::uint64_t marker) {
  if (begin(Mutation::sync) != Verdict::go_on) return EIO;
  MutexLock lock(mutex_);
  file->sync(marker);
  if (options_.file_sync_keeps_name) {
    std::erase_if(unsynced_names_, [&](const NameChange& change) {
      if (change.kind != NameChange::Kind::create || change.file != file) return false;
      durable_->apply(change);
      return true;
    });
  }
  return 0;
}

int SimDisk::sync_badly(const SimFile& file) {
  if (begin(Mutation::sync) != Verdict::go_on) return EIO;
  MutexLock lock(mutex_);
  file->sync_badly(rng_);
  return EIO;
}

std::uint64_t SimDisk::length(const SimFile& file) const {
  MutexLock lock(mutex_);
  return file->now().length();
}

std::uint64_t SimDisk::launch(const SimFile& file, std::uint64_t offset, ByteSpan bytes) {
  MutexLock lock(mutex_);
  const std::uint64_t id = next_launched_++;
  launched_.emplace(id, Launched{file, offset, std::string(as_text(bytes))});
  return id;
}

void SimDisk::withdraw(std::uint64_t launched) {
  MutexLock lock(mutex_);
  if (!frozen_) launched_.erase(launched);  // after the death it stays as it was at the death
}

// --- locks and space -----------------------------------------------------------------------

bool SimDisk::lock(const std::string& path, bool exclusive) {
  MutexLock lock(mutex_);
  int& holders = locks_[normal_path(path)];
  if (exclusive ? holders != 0 : holders < 0) return false;
  holders = exclusive ? -1 : holders + 1;
  return true;
}

void SimDisk::unlock(const std::string& path, bool exclusive) {
  MutexLock lock(mutex_);
  int& holders = locks_[normal_path(path)];
  holders = exclusive ? 0 : holders - 1;
}

std::uint64_t SimDisk::capacity_bytes() const {
  MutexLock lock(mutex_);
  return options_.capacity_bytes;
}

void SimDisk::set_capacity(std::uint64_t bytes) {
  MutexLock lock(mutex_);
  options_.capacity_bytes = bytes;
}

std::uint64_t SimDisk::allocated_bytes() const {
  MutexLock lock(mutex_);
  return allocated_locked();
}

std::uint64_t SimDisk::allocated_locked() const {
  std::set<SimFile> files(open_files_.begin(), open_files_.end());
  for (const auto& [name, file] : now_->files) files.insert(file);
  std::uint64_t total = 0;
  for (const SimFile& file : files) total += file->now().allocated_bytes();
  return total;
}

std::uint64_t SimDisk::free_pages() const {
  const std::uint64_t used = allocated_locked();
  return used >= options_.capacity_bytes ? 0 : (options_.capacity_bytes - used) / kSimPage;
}

}  // namespace cairn::test
