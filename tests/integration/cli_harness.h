// SPDX-License-Identifier: Apache-2.0
// cli_harness.h — runs the real program and keeps what it said.
//
// The program is $CAIRN_BIN_DIR/cairn; no shell is between.
//
// Threading: thread-compatible. Blocking: until the program ends.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cairn::test {

struct CliResult {
  int exit = -1;  // 128 + the signal, where one ended it
  std::string out, err;

  /// The one object on stdout; a discarded value where there is not exactly one.
  nlohmann::ordered_json object() const;
  /// One for each line.
  std::vector<nlohmann::ordered_json> objects() const;
};

using CliArguments = std::vector<std::string>;

CliResult run_cairn(const CliArguments& arguments, const std::string& input = {});

/// The program, running beside the test; killed and waited for when it goes out of scope.
class CliProcess {
 public:
  explicit CliProcess(const CliArguments& arguments);
  ~CliProcess();
  CliProcess(const CliProcess&) = delete;
  CliProcess& operator=(const CliProcess&) = delete;

  pid_t pid() const { return pid_; }
  void send(int signal) const;
  bool has_ended();
  CliResult wait();

 private:
  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

/// Every file under `directory` by its path, with its bytes hashed, its size and its times of
/// change: what "not a byte has changed" means.
std::map<std::string, std::string> fingerprint(const std::string& directory);

/// Waits until the condition holds, at most a minute.
bool eventually(const std::function<bool()>& condition);

}  // namespace cairn::test
