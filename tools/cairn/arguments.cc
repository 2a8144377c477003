// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/arguments.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <deque>

#include "engine/base/text.h"
#include "tools/cairn/values.h"

namespace cairn::tools {

struct Command::Node {
  CLI::App* app = nullptr;
  RunCommand run;
  std::deque<Node> children;
};

struct CommandLine::Impl {
  CLI::App app{
      "Cairn keeps the KV cache of LLM prefixes hot in RAM and cold on NVMe, and gives it "
      "back after a crash, byte for byte.",
      "cairn"};
  Command::Node root;
  bool json = false;
  bool quiet = false;
  bool version = false;
};

namespace {

constexpr std::string_view kEveryCommand =
    "\n\nEvery command takes --json (one object on stdout) and --quiet (no progress, no notes).";

absl::Status usage_error(std::string_view message, std::string_view hint) {
  return with_hint(make_error(ErrorCode::invalid_argument, message), hint);
}

std::string help_hint(const CLI::App& app) {
  std::string path = app.get_name();
  for (const CLI::App* parent = app.get_parent(); parent != nullptr;
       parent = parent->get_parent()) {
    path = concat(parent->get_name(), " ", path);
  }
  return concat("see `", path, " --help`");
}

/// Parses a positional or an option and tells CLI11 in its own way when the value is bad.
CLI::callback_t callback_of(std::string name, Command::Parse parse) {
  return [name = std::move(name), parse = std::move(parse)](const CLI::results_t& results) {
    const absl::Status status = parse(results.back());
    if (!status.ok()) throw CLI::ValidationError(name, std::string(message_of(status)));
    return true;
  };
}

/// 0 means "not given" further down, and nobody who types it means that.
absl::StatusOr<std::uint64_t> parse_size_above_zero(const std::string& typed) {
  CAIRN_ASSIGN_OR_RETURN(const std::uint64_t bytes, parse_size_value(typed));
  if (bytes > 0) return bytes;
  return make_error(ErrorCode::invalid_argument, "a size of 0 leaves room for nothing");
}

/// An empty word is a shell variable that was not set, and no file.
absl::Status check_path(std::string_view type, std::string_view typed) {
  if (!typed.empty() || (type != "FILE" && type != "DIR")) return absl::OkStatus();
  return make_error(ErrorCode::invalid_argument, type == "DIR"
                                                     ? "the name of the directory is empty"
                                                     : "the name of the file is empty; - is stdin");
}

CLI::App* selected(CLI::App* app) {
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return app;
}

std::string or_suggestion(std::string_view word, const std::vector<std::string>& known,
                          const CLI::App& app) {
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  if (const auto meant = nearest(word, candidates)) return concat("did you mean '", *meant, "'?");
  std::string help = help_hint(app);
  if (word.substr(0, 1) != "-") return help;
  return concat("what begins with - and is no option goes behind --; ", help);
}

/// CLI11 names what it could not place; say what it probably was.
absl::Status unknown_word(CLI::App& root) {
  CLI::App& app = *selected(&root);
  const std::vector<std::string> left = root.remaining(true);
  const std::string word = left.empty() ? std::string() : left.front();
  std::vector<std::string> known;
  if (word.substr(0, 1) == "-" && word.size() > 1) {
    for (const CLI::App* level : {&app, app.get_parent(), &root}) {
      if (level == nullptr) continue;
      for (const CLI::Option* option : level->get_options()) {
        for (const std::string& name : option->get_lnames()) known.push_back(concat("--", name));
      }
    }
    const std::string flag = word.substr(0, word.find('='));
    if (std::find(known.begin(), known.end(), flag) != known.end()) {
      return usage_error(concat("one argument too many: '", flag, "'"),
                         "what stands behind -- is taken as it is: options go before it");
    }
    return usage_error(concat("unknown option '", flag, "'"), or_suggestion(flag, known, app));
  }
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  if (!commands.empty()) {
    for (const CLI::App* command : commands) known.push_back(command->get_name());
    return usage_error(concat("unknown command '", word, "'"), or_suggestion(word, known, app));
  }
  return usage_error(concat("one argument too many: '", word, "'"), help_hint(app));
}

}  // namespace

void Command::option(std::string_view name, std::string_view type, std::string_view help,
                     Parse parse, std::string_view shown_default, Need need) {
  // "-f,--file" is called --file in messages.
  const std::string shown(
      name.substr(name.find(',') == std::string_view::npos ? 0 : name.find(',') + 1));
  CLI::Option* option = node_->app->add_option(
      std::string(name), callback_of(shown, std::move(parse)), std::string(help));
  option->type_name(std::string(type))
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  if (!shown_default.empty()) option->default_str(std::string(shown_default));
  option->required(need == Need::required);
}

void Command::positional(std::string_view name, std::string_view help, Parse parse, Need need) {
  CLI::Option* option = node_->app->add_option(
      std::string(name), callback_of(std::string(name), std::move(parse)), std::string(help));
  option->type_name("")->expected(1)->required(need == Need::required);
}

void Command::flag(std::string_view name, bool& value, std::string_view help) {
  node_->app->add_flag(std::string(name), value, std::string(help));
}

void Command::text(std::string_view name, std::string& value, std::string_view type,
                   std::string_view help, Need need) {
  const auto parse = [&value, kind = std::string(type)](const std::string& typed) {
    value = typed;
    return check_path(kind, typed);
  };
  option(name, type, help, parse, value, need);
}

void Command::text(std::string_view name, std::optional<std::string>& value, std::string_view type,
                   std::string_view help) {
  option(name, type, help, [&value, kind = std::string(type)](const std::string& typed) {
    value = typed;
    return check_path(kind, typed);
  });
}

void Command::size(std::string_view name, std::uint64_t& value, std::string_view help, Zero zero) {
  const auto parse = [&value, zero](const std::string& typed) -> absl::Status {
    CAIRN_ASSIGN_OR_RETURN(
        value, zero == Zero::allowed ? parse_size_value(typed) : parse_size_above_zero(typed));
    return absl::OkStatus();
  };
  option(name, "SIZE", help, parse, value == 0 ? std::string() : format_size(value));
}

void Command::size(std::string_view name, std::optional<std::uint64_t>& value,
                   std::string_view help) {
  option(name, "SIZE", help, [&value](const std::string& typed) -> absl::Status {
    CAIRN_ASSIGN_OR_RETURN(value, parse_size_above_zero(typed));
    return absl::OkStatus();
  });
}

void Command::count(std::string_view name, std::uint64_t& value, std::string_view help) {
  const auto parse = [&value](const std::string& typed) -> absl::Status {
    CAIRN_ASSIGN_OR_RETURN(value, parse_count(typed));
    return absl::OkStatus();
  };
  option(name, "N", help, parse, std::to_string(value));
}

void Command::durability(std::string_view name, std::optional<Durability>& value,
                         std::string_view help, std::string_view shown_default) {
  const auto parse = [&value](const std::string& typed) -> absl::Status {
    CAIRN_ASSIGN_OR_RETURN(value, parse_durability(typed));
    return absl::OkStatus();
  };
  option(name, "memory|written|durable", help, parse, shown_default);
}

void Command::key(std::string_view name, std::string& value, std::string_view help, Need need) {
  const auto parse = [&value](const std::string& typed) -> absl::Status {
    CAIRN_ASSIGN_OR_RETURN(value, parse_key(typed));
    return absl::OkStatus();
  };
  if (name.substr(0, 1) == "-") {
    option(name, "KEY", help, parse, {}, need);
  } else {
    positional(name, help, parse, need);
  }
}

void Command::file(std::string_view name, std::string& value, std::string_view help, Need need) {
  positional(
      name, help,
      [&value](const std::string& typed) {
        value = typed;
        return check_path("FILE", typed);
      },
      need);
}

Command Command::add(const CommandText& text, RunCommand run) {
  CLI::App* app = node_->app->add_subcommand(std::string(text.name), std::string(text.summary));
  if (!text.examples.empty()) app->footer(concat("Examples:\n", text.examples, kEveryCommand));
  app->fallthrough();  // --json and --quiet, which belong to the program
  node_->children.push_back({app, std::move(run), {}});
  return Command(&node_->children.back());
}

CommandLine::CommandLine() : impl_(std::make_unique<Impl>()) {
  CLI::App& app = impl_->app;
  impl_->root.app = &app;
  app.set_help_flag("-h,--help", "What the command does, and examples");
  app.add_flag("--json", impl_->json, "One JSON object on stdout, also for an error");
  app.add_flag("--quiet,-q", impl_->quiet, "No progress, no notes");
  app.add_flag("--version", impl_->version, "The version, as `cairn version`");
  app.footer("`cairn COMMAND --help` has the options and examples of each.");
}

CommandLine::~CommandLine() = default;

Command CommandLine::add(const CommandText& text, RunCommand run) {
  return Command(&impl_->root).add(text, std::move(run));
}

absl::StatusOr<CommandLine::Parsed> CommandLine::parse(int argc, const char* const* argv,
                                                       Output& output) {
  // Before anything can fail: an error about the command line is an object too.
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (std::string_view(argv[i]) == "--json") output.set_json(true);
  }
  CLI::App& app = impl_->app;
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Parsed{{}, app.help()};
  } catch (const CLI::ExtrasError&) {
    return unknown_word(app);
  } catch (const CLI::RequiredError& error) {
    // What is missing may be what was taken for an option.
    if (!app.remaining(true).empty()) return unknown_word(app);
    return usage_error(error.what(), help_hint(*selected(&app)));
  } catch (const CLI::ParseError& error) {
    return usage_error(error.what(), help_hint(*selected(&app)));
  }
  output.set_json(impl_->json);
  output.set_quiet(impl_->quiet);

  Command::Node* node = &impl_->root;
  while (!node->app->get_subcommands().empty()) {
    CLI::App* chosen = node->app->get_subcommands().front();
    for (Command::Node& child : node->children) {
      if (child.app == chosen) {
        node = &child;
        break;
      }
    }
  }
  if (impl_->version) {
    for (Command::Node& child : impl_->root.children) {
      if (child.app->get_name() == "version") return Parsed{child.run, {}};
    }
  }
  if (node == &impl_->root) return Parsed{};
  if (node->run) {
    // What a command finds wrong with its own arguments is explained by its own help.
    return Parsed{[run = node->run, hint = help_hint(*node->app)](Output& out) {
                    auto ran = run(out);
                    const bool bare = has_code(ran.status(), ErrorCode::invalid_argument) &&
                                      !has_hint(ran.status());
                    if (bare) ran = with_hint(ran.status(), hint);
                    return ran;
                  },
                  {}};
  }
  return usage_error(concat("`cairn ", node->app->get_name(), "` needs to be told what"),
                     help_hint(*node->app));
}

}  // namespace cairn::tools
