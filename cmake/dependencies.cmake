# SPDX-License-Identifier: Apache-2.0
# Every third party, by its Debian 12 package (scripts/install-deps.sh installs them).
find_package(Threads REQUIRED)
find_package(absl REQUIRED)       # libabsl-dev
find_package(OpenSSL REQUIRED)    # libssl-dev: SHA-256
find_package(PkgConfig REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)    # libxxhash-dev
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing)  # liburing-dev
pkg_check_modules(libzstd REQUIRED IMPORTED_TARGET libzstd)    # libzstd-dev
find_package(RocksDB REQUIRED)    # librocksdb-dev
if(CAIRN_DEVELOPER_MODE)
  find_package(CLI11 REQUIRED)          # libcli11-dev
  find_package(nlohmann_json REQUIRED)  # nlohmann-json3-dev
  find_package(GTest REQUIRED)          # libgtest-dev, libgmock-dev
  find_package(benchmark REQUIRED)      # libbenchmark-dev
endif()
