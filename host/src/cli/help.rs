//! What stands below each command's options: examples, exit codes, environment. Lines have less
//! than 80 columns, so that they read the same in every terminal.

pub(super) const CONCLAVE: &str = "\
Examples:
  conclave demo                           one real deliberation, watched live
  conclave serve --endpoint http://vllm:8000 --model Qwen/Qwen3-8B
  conclave run \"Is 91 prime?\" --agents 5  submit, watch, print the outcome

Exit codes:
  0    done
  1    failed; the reason stands on stderr, with --json as a JSON object
  2    wrong usage
  130  ended by Ctrl-C

Environment:
  CONCLAVE_ADDR              where client commands find the host
  CONCLAVE_TOKEN             the bearer token that they send
  CONCLAVE_CONFIG            the TOML file of `serve`
  CONCLAVE_<SECTION>_<KEY>   any setting of `serve`
  NO_COLOR                   no colours when it is set

`conclave COMMAND --help` teaches a command, `-h` is short.";

pub(super) const SERVE: &str = "\
A setting, in each place where it may stand:
  [limits]                           in the file
  retries_max = 5
  CONCLAVE_LIMITS_RETRIES_MAX=5      as a variable
  --set limits.retries_max=5         as a flag
`--check` prints all settings with where each stands, `--reference` says what
each is for.

Signals:
  The first SIGTERM or SIGINT lets running deliberations finish within
  `server.shutdown_grace_seconds` and pauses the rest, which resume at the next
  start; the second one exits at once.

Examples:
  conclave serve --endpoint http://127.0.0.1:8000 --model smollm2
  conclave serve --config /etc/conclave/conclave.toml --check
  conclave serve --grpc-addr 127.0.0.1:0 --set log.format=json
                                     the log line `ready` tells the port

Exit codes:
  0    stopped by a signal; with --check: it could serve, perhaps with warnings
  1    it did not start; with --check: it could not serve
  2    wrong usage
  130, 143   ended by SIGINT or SIGTERM at once

Environment:
  CONCLAVE_<SECTION>_<KEY>   any setting; `--reference` lists all
  GRPC_PORT, NATS_URL, ENABLE_NATS, LOG_LEVEL
                             of existing deployments; the ones above go first";

pub(super) const DEMO: &str = "\
Examples:
  conclave demo
  conclave demo --endpoint http://127.0.0.1:8000 --model Qwen/Qwen3-8B

Exit codes:
  0 the deliberation completed, 1 it did not, 2 wrong usage, 130 Ctrl-C

Environment:
  CONCLAVE_LOCAL_MODEL   the binary of the model server
  CONCLAVE_WEIGHTS       the model's GGUF file";

pub(super) const RUN: &str = "\
Examples:
  conclave run \"How many legs does a spider have?\" --agents 5 \\
      --param extract.rule=first_integer \\
      --scorer-param extract.rule=first_integer
  conclave run \"$(cat task.md)\" --strategy critique-revise --scorer judge \\
      --timeout 600
  conclave run \"2+2?\" --agents 9 --params '{\"stop\":{\"rule\":\"none\"}}' --json

Exit codes:
  0    completed; with --detach: accepted
  1    failed, cancelled, or refused by the host
  2    wrong usage
  130  Ctrl-C

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const GET: &str = "\
Examples:
  conclave get deliberation-0198c1…
  conclave get deliberation-0198c1… --json | jq .outcome.ranked[0]

Exit codes:
  0 found, whatever its state; 1 not found, or no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const LIST: &str = "\
A filter compares fields, joined by AND, OR, NOT and parentheses; OR binds more
than AND:
  state                     RUNNING, COMPLETED, FAILED or CANCELLED
  task.id task.role strategy.name scorer.name correlation_id labels.KEY
                            texts; task.id:word asks whether it holds the word,
                            labels:KEY whether there is a label of the key
  priority                  0 to 9
  create_time end_time      times like \"2026-01-31T12:00:00Z\"
  = != < <= > >=            compare

Examples:
  conclave list
  conclave list --filter 'state = RUNNING OR state = FAILED' --limit 100
  conclave list --filter 'labels.team = blue AND priority > 4'
  conclave list --limit 0 --json | jq -r .uid

Exit codes:
  0 listed, even when there is none; 1 refused, or no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const PLUGIN_LIST: &str = "\
Examples:
  conclave plugin list
  conclave plugin list --json | jq -r .plugin_name

Exit codes:
  0 listed, 1 no host, 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const PLUGIN_INSPECT: &str = "\
Examples:
  conclave plugin inspect sample-vote
  conclave plugin inspect sample-vote@canary
  conclave plugin inspect sample-vote@0.1.0 --json | jq .params_schema

Exit codes:
  0 found, 1 not found, or no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const WATCH: &str = "\
Examples:
  conclave watch deliberation-0198c1…
  conclave watch deliberation-0198c1… --after 12 --json

Exit codes:
  0    completed
  1    failed or cancelled; not found, or no host
  2    wrong usage
  130  Ctrl-C

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const CANCEL: &str = "\
Examples:
  conclave cancel deliberation-0198c1… --reason \"asked by mistake\"

Exit codes:
  0 cancelled, by this command or before
  1 it had ended otherwise, is not found, or there is no host
  2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const REPLAY: &str = "\
Examples:
  conclave replay deliberation-0198c1…
  conclave replay deliberation-0198c1… --plugin my_strategy.wasm
  conclave replay deliberation-0198c1… --export tests/no-majority.jsonl
  conclave replay deliberation-0198c1… --data-dir /var/lib/conclave
  conclave replay --record tests/no-majority.jsonl --plugin my_strategy.wasm

An exported record holds the task, every answer and every candidate.

Exit codes:
  0 every step was repeated, with --export written
  1 a step differs, or it is not found, or there is no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const PLUGIN_TEST: &str = "\
Examples:
  conclave plugin test .
  conclave plugin test . majority             # what has `majority` in its name
  conclave plugin test my_strategy.wasm --conformance
  conclave plugin test . --component out.wasm --json | jq .failed

A case is a file tests/NAME.toml:
  [task]
  description = \"Say hello.\"
  agents = [\"ada\", { id = \"bob\", role = \"QA\" }]

  [[generation]]            # what the model server answers; the first rule
  agent = \"bob\"             # that fits, and a rule without keys fits all
  failure = \"unavailable\"

  [[generation]]
  text = \"hello\"
  latency_ms = 200

  [expect]
  winner = \"hello\"
  generations = 2

Keys of a case:
  scorer          of a strategy, before the first table: a name (agreement),
                  { component = \"x.wasm\", params = {} }, { scores = [0.9] } or
                  { by_agent = { ada = 0.9 } }
  candidates      of a scorer: texts, or { agent, content, reasoning }
  cancel_at_ms    when the client cancels
  record          what `conclave replay --export` wrote, instead of a task
  [task]          id, description, role, agents, metadata, timeout_seconds
  [params]        the plugin's params
  [limits]        generations_max, open_generations_max
  [[generation]]  fits: agent, phase, round, prompt (a part of a message)
                  gives one of: text, texts, failure (unavailable, rejected,
                  silent); latency_ms, finish, tokens, reasoning, logprobs;
                  times: how often it may be used
  [expect]        outcome (completed, refused, failed, cancelled), winner,
                  ranking, scores, generations, cancelled, rounds, error,
                  stopped_early, metadata, emitted, divergence

Exit codes:
  0 all passed, 1 some failed
  2 wrong usage, a case that cannot be read, or nothing of that name

Environment:
  CONCLAVE_CONFIG   the TOML file, as --config";

pub(super) const PLUGIN: &str = "\
Examples:
  conclave plugin new my-strategy --kind strategy --lang rust
  conclave plugin check target/wasm32-wasip2/release/my_strategy.wasm
  conclave plugin push target/wasm32-wasip2/release/my_strategy.wasm
  conclave plugin canary my-strategy --share 5%
  conclave plugin promote my-strategy

Exit codes:
  0 done, 1 failed, 2 wrong usage";

pub(super) const PLUGIN_NEW: &str = "\
Examples:
  conclave plugin new colour-vote --kind strategy --lang rust
  conclave plugin new strict --kind scorer --lang python --dir plugins/strict

Exit codes:
  0 written, 1 it cannot be written, 2 wrong usage: the name, or a directory
  that is not empty";

pub(super) const PLUGIN_CHECK: &str = "\
Examples:
  conclave plugin check target/wasm32-wasip2/release/my_strategy.wasm
  conclave plugin check my_strategy.wasm --json | jq .reasons
  conclave plugin check my_strategy.wasm --signature my_strategy.wasm.sig \\
      --config conclave.toml

Exit codes:
  0 it may be a plugin, 1 it may not (every reason is listed), 2 wrong usage

Environment:
  CONCLAVE_CONFIG   the TOML file, as --config";

pub(super) const PLUGIN_SIGN: &str = "\
Keys:
  openssl genpkey -algorithm ed25519 -out private.pem
  openssl pkey -in private.pem -pubout -out public.pem
Hosts trust the public one by `plugins.trusted_keys`.

Examples:
  conclave plugin sign my_strategy.wasm --key private.pem
  conclave plugin sign my_strategy.wasm --key private.pem --out my.sig --json

Exit codes:
  0 signed, 1 it may not be a plugin, 2 wrong usage, or not a key

Environment:
  CONCLAVE_CONFIG   the TOML file, as --config";

pub(super) const COMPILE_COMPONENT: &str = "\
Examples:
  conclave compile-component --component-bytes 81920 --cpu-seconds 60 \\
      --memory-bytes 1073741824

Exit codes:
  0 the machine code is on stdout, 1 it is not; the reason stands on stderr";

pub(super) const COMPLETIONS: &str = "\
Examples:
  source <(conclave completions bash)                for this shell only
  conclave completions bash > /etc/bash_completion.d/conclave
  conclave completions zsh > ~/.zfunc/_conclave      with ~/.zfunc in $fpath
  conclave completions fish > ~/.config/fish/completions/conclave.fish

Exit codes:
  0 printed, 2 wrong usage";

pub(super) const TOKEN: &str = "\
Examples:
  conclave token new planner --role client --tenant team-a

Exit codes:
  0 done, 1 failed, 2 wrong usage";

pub(super) const TOKEN_NEW: &str = "\
Examples:
  conclave token new planner --role client --tenant team-a
  conclave token new grafana --role viewer --expires 2030-01-31T00:00:00Z
  conclave token new ops --role operator --json | jq -r .token > ops.token

Exit codes:
  0 printed, 1 failed, 2 wrong usage";

pub(super) const TOKEN_HASH: &str = "\
Examples:
  conclave token hash            waits for the token and the end of stdin
  conclave token hash --json

Exit codes:
  0 printed, 1 failed, 2 wrong usage";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::super::Cli;

    /// Every command with its path, the binary itself too, but not the `help` that clap adds.
    fn commands() -> Vec<(String, Command)> {
        fn walk(path: &str, command: &Command, found: &mut Vec<(String, Command)>) {
            found.push((path.to_owned(), command.clone()));
            for inner in command
                .get_subcommands()
                .filter(|inner| inner.get_name() != "help")
            {
                walk(&format!("{path} {}", inner.get_name()), inner, found);
            }
        }
        let mut command = Cli::command();
        command.build();
        let mut found = Vec::new();
        walk("conclave", &command, &mut found);
        found
    }

    #[test]
    fn every_command_has_a_summary_a_description_an_example_and_its_exit_codes() {
        let commands = commands();
        assert!(commands.len() >= 10);
        for (path, command) in commands {
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                !about.is_empty() && about.chars().count() <= 80,
                "{path}: {about}"
            );
            let described = command.get_long_about().is_some();
            assert!(described, "{path} has no description below its summary");
            let below = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for heading in ["Examples:\n", "Exit codes:\n"] {
                assert!(below.contains(heading), "{path} has no {heading}");
            }
            assert!(
                below.contains(&format!("  {path}")),
                "{path} has no example of itself"
            );
            let longest = below.lines().map(|line| line.chars().count()).max();
            assert!(longest < Some(80), "{path}: a line has {longest:?} columns");
        }
    }

    #[test]
    fn every_argument_has_help_and_a_name_for_its_value() {
        for (path, command) in commands() {
            for argument in command.get_arguments() {
                let help = argument
                    .get_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    !help.trim().is_empty(),
                    "{path}: `{}` has no help",
                    argument.get_id()
                );
            }
        }
    }

    #[test]
    fn every_example_is_understood() {
        for (path, command) in commands() {
            let below = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let examples = below.split("Examples:\n").nth(1).unwrap_or_default();
            let examples = examples.split("\n\n").next().unwrap_or_default();
            let (first, continued) = examples.split_once("\\\n").unwrap_or((examples, ""));
            let continued = continued.split("\\\n").map(str::trim_start);
            let joined: String = std::iter::once(first).chain(continued).collect();
            let typed: Vec<_> = joined
                .lines()
                .filter(|line| line.starts_with("  conclave"))
                .collect();
            assert!(!typed.is_empty(), "{path}");
            for line in typed {
                // What stands two columns behind it explains it; what a shell would take is not ours.
                let line = line.trim_start().split("  ").next().unwrap_or_default();
                let line = line.split(['>', '|']).next().unwrap_or_default();
                let words = words(line);
                let parsed = Cli::command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{path}: {words:?}: {}", parsed.unwrap_err());
            }
        }
    }

    /// The words of a line as a shell would split it.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quote = None;
        for c in line.trim().chars() {
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None, ' ') => {
                    if words.last().is_some_and(|word| !word.is_empty()) {
                        words.push(String::new());
                    }
                }
                (_, c) => words.last_mut().unwrap().push(c),
            }
        }
        words
    }
}
