// SPDX-License-Identifier: Apache-2.0
// What becomes of a SimDisk when the power or the process goes, and what a vandal does to it.
#include <algorithm>

#include "tests/support/sim_disk.h"
#include "tests/support/sim_disk_state.h"

namespace cairn::test {

std::shared_ptr<SimDisk> SimDisk::power_cut(Rng& rng, CutReport* report) {
  CutReport local;
  CutReport& counts = report == nullptr ? local : *report;
  MutexLock lock(mutex_);
  frozen_ = true;
  for (const auto& [id, write] : launched_) {  // no better and no worse than the unsynced
    write.file->change({SimInode::Unsynced::Kind::write, writes_++, write.offset, write.bytes});
  }
  launched_.clear();

  Names names = *durable_;
  const std::size_t kept = rng.below(unsynced_names_.size() + 1);
  for (std::size_t i = 0; i < kept; ++i) names.apply(unsynced_names_[i]);
  counts.names_kept += kept;
  counts.names_dropped += unsynced_names_.size() - kept;
  names.drop_unreachable();

  std::map<SimFile, SimFile> reborn;
  for (auto& [path, file] : names.files) {
    SimFile& twin = reborn[file];
    if (twin == nullptr) {
      twin = std::make_shared<SimInode>();
      twin->now_for_damage() = file->after_cut(rng, counts);
      twin->synced_for_damage() = twin->now();
    }
    file = twin;
  }
  SimDiskOptions options = options_;
  options.seed = rng.next();
  auto next = std::make_shared<SimDisk>(options);
  *next->now_ = names;  // nobody else has it yet, so its lock is not needed
  *next->durable_ = std::move(names);
  return next;
}

std::shared_ptr<SimDisk> SimDisk::kill_process(Rng& rng, CutReport* report) {
  CutReport local;
  MutexLock lock(mutex_);
  frozen_ = true;
  land_some_launched(rng, report == nullptr ? local : *report);
  return copy();
}

std::shared_ptr<SimDisk> SimDisk::snapshot() const {
  MutexLock lock(mutex_);
  return copy();
}

std::shared_ptr<SimDisk> SimDisk::copy() const {
  std::map<SimFile, SimFile> twins;
  const auto twin_of = [&twins](const SimFile& file) {
    if (file == nullptr) return SimFile();
    SimFile& twin = twins[file];
    if (twin == nullptr) twin = std::make_shared<SimInode>(*file);
    return twin;
  };
  auto next = std::make_shared<SimDisk>(options_);
  next->writes_ = writes_;  // nobody else has it yet, so its lock is not needed
  *next->now_ = *now_;
  *next->durable_ = *durable_;
  next->unsynced_names_ = unsynced_names_;
  for (auto& [path, file] : next->now_->files) file = twin_of(file);
  for (auto& [path, file] : next->durable_->files) file = twin_of(file);
  for (NameChange& change : next->unsynced_names_) change.file = twin_of(change.file);
  return next;
}

void SimDisk::land_some_launched(Rng& rng, CutReport& report) {
  for (const auto& [id, write] : launched_) {
    const std::uint64_t fate = rng.below(3);
    ++(fate == 0 ? report.writes_dropped : fate == 1 ? report.writes_torn : report.writes_kept);
    if (fate == 0) continue;
    for (std::uint64_t done = 0; done < write.bytes.size(); done += kSimSector) {
      if (fate == 1 && rng.chance(0.5)) continue;
      write.file->change({SimInode::Unsynced::Kind::write, writes_++, write.offset + done,
                          write.bytes.substr(done, kSimSector)});
    }
  }
  launched_.clear();
}

// --- names -----------------------------------------------------------------------------------

Mutation SimDisk::NameChange::mutation() const {
  switch (kind) {
    case Kind::create:
      return Mutation::create;
    case Kind::remove:
    case Kind::remove_directory:
      return Mutation::remove;
    case Kind::rename:
    case Kind::rename_directory:
      return Mutation::rename;
    case Kind::make_directory:
      return Mutation::make_directory;
  }
  CAIRN_UNREACHABLE();
}

bool SimDisk::NameChange::touches(const std::string& directory) const {
  return (!from.empty() && parent_path(from) == directory) ||
         (!to.empty() && parent_path(to) == directory);
}

void SimDisk::Names::apply(const NameChange& change) {
  const auto forget = [this](const std::string& path, const SimFile& file) {
    const auto found = files.find(path);
    if (found != files.end() && found->second == file) files.erase(found);
  };
  switch (change.kind) {
    case NameChange::Kind::create:
      files[change.to] = change.file;
      return;
    case NameChange::Kind::remove:
      forget(change.from, change.file);
      return;
    case NameChange::Kind::rename:
      forget(change.from, change.file);
      files[change.to] = change.file;
      return;
    case NameChange::Kind::make_directory:
      directories.insert(change.to);
      return;
    case NameChange::Kind::remove_directory:
      directories.erase(change.from);
      return;
    case NameChange::Kind::rename_directory:
      break;
  }
  if (directories.erase(change.from) == 0) return;
  directories.insert(change.to);
  const std::string prefix = change.from + "/";
  const auto moved = [&](const std::string& path) {
    return change.to + path.substr(change.from.size());
  };
  std::map<std::string, SimFile> moved_files;
  for (auto& [path, file] : files) {
    moved_files[path.starts_with(prefix) ? moved(path) : path] = file;
  }
  files = std::move(moved_files);
  std::set<std::string> moved_directories;
  for (const std::string& path : directories) {
    moved_directories.insert(path.starts_with(prefix) ? moved(path) : path);
  }
  directories = std::move(moved_directories);
}

void SimDisk::Names::drop_unreachable() {
  // In order of names a parent comes before its children, so one pass is enough.
  for (auto path = directories.begin(); path != directories.end();) {
    const bool reachable = *path == "/" || directories.contains(parent_path(*path));
    path = reachable ? std::next(path) : directories.erase(path);
  }
  std::erase_if(
      files, [this](const auto& entry) { return !directories.contains(parent_path(entry.first)); });
}

std::string normal_path(const std::string& path) {
  std::string normal;
  for (const char c : path) {
    if (normal.empty() && c != '/') normal.push_back('/');
    if (c == '/' && !normal.empty() && normal.back() == '/') continue;
    normal.push_back(c);
  }
  while (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal.empty() ? "/" : normal;
}

std::string parent_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// --- the vandal ------------------------------------------------------------------------------

std::vector<std::string> SimDisk::files() const {
  MutexLock lock(mutex_);
  std::vector<std::string> paths;
  for (const auto& [path, file] : now_->files) paths.push_back(path);
  return paths;
}

std::string SimDisk::content(const std::string& path) const {
  const SimFile file = find(normal_path(path));
  CAIRN_CHECK(file != nullptr);
  MutexLock lock(mutex_);
  std::string bytes(file->now().length(), '\0');
  file->now().read(0, {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
  return bytes;
}

void SimDisk::damage(const std::string& path, const std::function<void(SimImage&)>& how) {
  const SimFile file = find(normal_path(path));
  CAIRN_CHECK(file != nullptr);
  MutexLock lock(mutex_);
  how(file->now_for_damage());
  how(file->synced_for_damage());
}

void SimDisk::overwrite(const std::string& path, std::uint64_t offset, ByteSpan bytes) {
  damage(path, [&](SimImage& image) {
    if (offset + bytes.size() <= image.length()) image.write(offset, bytes);
  });
}

void SimDisk::flip_bit(const std::string& path, std::uint64_t byte, unsigned bit) {
  damage(path, [&](SimImage& image) {
    std::byte value{};
    if (image.read(byte, {&value, 1}) != 1) return;
    value ^= std::byte{1} << (bit % 8);
    image.write(byte, {&value, 1});
  });
}

void SimDisk::zero_page(const std::string& path, std::uint64_t page) {
  const std::string zeros(kSimPage, '\0');
  overwrite(path, page * kSimPage, as_bytes(zeros));
}

void SimDisk::make_unreadable(const std::string& path, std::uint64_t page) {
  damage(path, [&](SimImage& image) { image.make_unreadable(page); });
}

void SimDisk::swap_pages(const std::string& path_a, std::uint64_t page_a, const std::string& path_b,
                         std::uint64_t page_b) {
  const std::string a = content(path_a).substr(page_a * kSimPage, kSimPage);
  const std::string b = content(path_b).substr(page_b * kSimPage, kSimPage);
  overwrite(path_a, page_a * kSimPage, as_bytes(b));
  overwrite(path_b, page_b * kSimPage, as_bytes(a));
}

bool SimDisk::make_page_stale(const std::string& path, std::uint64_t page) {
  bool made = false;
  damage(path, [&](SimImage& image) { made = image.make_page_stale(page) || made; });
  return made;
}

void SimDisk::truncate(const std::string& path, std::uint64_t bytes) {
  damage(path, [&](SimImage& image) {
    if (bytes < image.length()) image.resize(bytes);
  });
}

void SimDisk::take_away(const std::string& path) {
  MutexLock lock(mutex_);
  now_->files.erase(normal_path(path));
  durable_->files.erase(normal_path(path));
}

}  // namespace cairn::test
