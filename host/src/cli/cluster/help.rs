//! What stands below the options of the commands about clusters.

pub(in crate::cli) const CLUSTER: &str = "\
Examples:
  conclave cluster status
  conclave cluster models
  conclave cluster up Qwen/Qwen3-8B --replicas 2

Exit codes:
  0 done, 1 not done or there is no host, 2 wrong usage";

pub(super) const STATUS: &str = "\
Examples:
  conclave cluster status
  conclave cluster status a100 --json

Exit codes:
  0 all that was asked for answers, 1 a cluster does not or there is
  no host, 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const MODELS: &str = "\
Examples:
  conclave cluster models
  conclave cluster models Qwen/Qwen3-8B --json

Exit codes:
  0 shown, 1 there is no host or no such model, 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const UP: &str = "\
Examples:
  conclave cluster up Qwen/Qwen3-8B
  conclave cluster up Qwen/Qwen3-8B --replicas 4 --no-wait

Exit codes:
  0 the replicas are healthy, 1 they are not in time or were refused,
  2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const DOWN: &str = "\
Examples:
  conclave cluster down Qwen/Qwen3-8B
  conclave cluster down Qwen/Qwen3-8B --no-wait

Exit codes:
  0 no replica runs, 1 some do after --timeout, or it was refused,
  2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const DRAIN: &str = "\
Examples:
  conclave cluster drain a100 --wait

Exit codes:
  0 it is given no more work (with --wait: nothing runs there), 1 it
  was refused, 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";

pub(super) const RESUME: &str = "\
Examples:
  conclave cluster resume a100

Exit codes:
  0 it is given work, 1 it was refused, 2 wrong usage

Environment:
  CONCLAVE_ADDR   where the host is, as --addr
  CONCLAVE_TOKEN  the bearer token, instead of --token-file
  CONCLAVE_CA     the root of the host's certificate, as --ca";
