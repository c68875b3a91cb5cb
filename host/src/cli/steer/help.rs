//! What stands below the options of the commands that steer plugins.

pub(super) const PUSH: &str = "\
Examples:
  conclave plugin push my_strategy.wasm
  conclave plugin push my_strategy.wasm --canary 5% --reason \"shorter prompts\"
  conclave plugin push my_strategy.wasm --check-only --json

Exit codes:
  0 the host has all of them, 1 it refused one or there is no host,
  2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const IMPORT: &str = "\
Examples:
  conclave plugin import oci.example/team/vote@sha256:9f86d0…
  conclave plugin import oci.example/team/vote@sha256:9f86d0… --canary 1%

Exit codes:
  0 the host has it, 1 it refused it or there is no host, 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const CANARY: &str = "\
A rule has conditions, which must all hold, and the share of what they match:
  tenant=NAME  role=NAME  task_type=TYPE  label:KEY=VALUE

Examples:
  conclave plugin canary vote@2.0.0 --share 5%
  conclave plugin canary vote@2.0.0 --share 0% --rule tenant=acme:100%
  conclave plugin canary vote --share 1% --rule label:team=core,role=qa:50%

Exit codes:
  0 it is tried, 1 refused, or no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const PROMOTE: &str = "\
Examples:
  conclave plugin promote vote
  conclave plugin promote vote@2.0.0 --reason \"a week without a failure\"

Exit codes:
  0 it is stable, 1 refused, or no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const ROLLBACK: &str = "\
Examples:
  conclave plugin rollback vote
  conclave plugin rollback vote --kind scorer --reason \"too many ties\"

Exit codes:
  0 it went back, 1 refused, or no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const REMOVE: &str = "\
Examples:
  conclave plugin remove vote@1.0.0
  conclave plugin remove sha256:9f86d081

Exit codes:
  0 removed; 1 refused, not found, or no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const HISTORY: &str = "\
Examples:
  conclave plugin history
  conclave plugin history vote --limit 0 --json | jq -r .by

Exit codes:
  0 told, even when nothing happened; 1 not found, or no host; 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const DRAIN: &str = "\
Examples:
  conclave plugin drain vote
  conclave plugin drain vote --wait

Exit codes:
  0    shown; with --wait: nobody runs on an old version any more
  1    no host, or no plugin of this name
  2    wrong usage
  130  Ctrl-C

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";
