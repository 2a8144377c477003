// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/cli_harness.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/base/check.h"
#include "engine/base/hash128.h"

namespace cairn::test {
namespace {

std::string program() {
  const char* const directory = std::getenv("CAIRN_BIN_DIR");
  CAIRN_CHECK(directory != nullptr);
  return std::string(directory) + "/cairn";
}

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  CAIRN_CHECK(pipe2(ends.data(), O_CLOEXEC) == 0);
  return ends;
}

pid_t start(const CliArguments& arguments, int in, int out, int err) {
  const std::string path = program();
  std::vector<char*> words{const_cast<char*>(path.c_str())};
  for (const std::string& argument : arguments)
    words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  const pid_t child = fork();
  CAIRN_CHECK(child >= 0);
  if (child != 0) return child;
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  // gtest's parent may ignore it; the program must not depend on that.
  signal(SIGPIPE, SIG_DFL);
  execv(path.c_str(), words.data());
  _exit(127);
}

int exit_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Feeds and drains all three at once, so that no pipe fills up and stops the program.
void converse(int in, std::string_view input, int out, int err, CliResult& result) {
  signal(SIGPIPE, SIG_IGN);
  if (in >= 0) fcntl(in, F_SETFL, O_NONBLOCK);
  std::array<char, 65536> buffer;
  while (in >= 0 || out >= 0 || err >= 0) {
    std::array<pollfd, 3> fds{{{in, POLLOUT, 0}, {out, POLLIN, 0}, {err, POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) break;
    if (in >= 0 && fds[0].revents != 0) {
      const ssize_t count = write(in, input.data(), input.size());
      if (count > 0) input.remove_prefix(static_cast<std::size_t>(count));
      if (input.empty() || (count < 0 && errno != EAGAIN)) {
        close(in);
        in = -1;
      }
    }
    for (auto [fd, text, at] : {std::tuple{&out, &result.out, 1}, {&err, &result.err, 2}}) {
      if (*fd < 0 || fds[static_cast<std::size_t>(at)].revents == 0) continue;
      const ssize_t count = read(*fd, buffer.data(), buffer.size());
      if (count > 0) {
        text->append(buffer.data(), static_cast<std::size_t>(count));
      } else {
        close(*fd);
        *fd = -1;
      }
    }
  }
}

}  // namespace

nlohmann::ordered_json CliResult::object() const {
  // Exactly one: a second one, or anything else, makes it no JSON at all.
  return nlohmann::ordered_json::parse(out, nullptr, false);
}

std::vector<nlohmann::ordered_json> CliResult::objects() const {
  std::vector<nlohmann::ordered_json> all;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) {
    all.push_back(nlohmann::ordered_json::parse(line, nullptr, false));
  }
  return all;
}

CliResult run_cairn(const CliArguments& arguments, const std::string& input) {
  const auto in = make_pipe();
  const auto out = make_pipe();
  const auto err = make_pipe();
  const pid_t child = start(arguments, in[0], out[1], err[1]);
  close(in[0]);
  close(out[1]);
  close(err[1]);
  CliResult result;
  converse(in[1], input, out[0], err[0], result);
  int status = 0;
  CAIRN_CHECK(waitpid(child, &status, 0) == child);
  result.exit = exit_of(status);
  return result;
}

CliProcess::CliProcess(const CliArguments& arguments) {
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const auto out = make_pipe();
  const auto err = make_pipe();
  pid_ = start(arguments, nothing, out[1], err[1]);
  close(nothing);
  close(out[1]);
  close(err[1]);
  out_ = out[0];
  err_ = err[0];
}

CliProcess::~CliProcess() {
  if (!has_ended()) {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }
  for (const int fd : {out_, err_}) {
    if (fd >= 0) close(fd);
  }
}

void CliProcess::send(int signal) const {
  CAIRN_CHECK(kill(pid_, signal) == 0);
}

bool CliProcess::has_ended() {
  if (!ended_) ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return ended_;
}

CliResult CliProcess::wait() {
  CliResult result;
  converse(-1, {}, out_, err_, result);
  out_ = err_ = -1;
  if (!ended_) CAIRN_CHECK(waitpid(pid_, &status_, 0) == pid_);
  ended_ = true;
  result.exit = exit_of(status_);
  return result;
}

std::map<std::string, std::string> fingerprint(const std::string& directory) {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat info {};
    CAIRN_CHECK(stat(entry.path().c_str(), &info) == 0);
    std::ostringstream print;
    print << info.st_mode << ' ' << info.st_size << ' ' << info.st_mtim.tv_sec << '.'
          << info.st_mtim.tv_nsec << ' ' << info.st_ctim.tv_sec << '.' << info.st_ctim.tv_nsec;
    if (entry.is_regular_file()) {
      std::ifstream file(entry.path(), std::ios::binary);
      std::ostringstream content;
      content << file.rdbuf();
      print << ' ' << to_hex(xxh3_128(as_bytes(content.str())));
    }
    all[entry.path().string()] = print.str();
  }
  return all;
}

bool eventually(const std::function<bool()>& condition) {
  constexpr int kTries = 60'000;
  for (int i = 0; i < kTries; ++i) {
    if (condition()) return true;
    const timespec moment{0, 1'000'000};
    nanosleep(&moment, nullptr);
  }
  return false;
}

}  // namespace cairn::test
