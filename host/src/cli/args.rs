//! The command line: what can be typed, and the help that teaches it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use conclave_core::plugin::PluginChoice;

use super::cluster::args::ClusterCommand;
use super::cluster::help as cluster_help;
use super::help;
use super::new::{Kind, Language};
use super::steer::args::SteerCommand;
use crate::access::{Bearer, Role};
use crate::config::{Environment, Flag, Sources};
use crate::wasm::Bounds;

/// An execution host for LLM deliberation.
///
/// A strategy, which is a WebAssembly component, decides which generations to ask of a model server
/// and when to stop; a scorer grades the candidates; the host runs the generations, journals every
/// step and answers with the winner.
#[derive(Debug, Parser)]
#[command(
    name = "conclave",
    version,
    max_term_width = 100,
    after_help = help::CONCLAVE
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve deliberations over gRPC until a signal stops it.
    ///
    /// Every setting stands, the later over the earlier, in its default, the TOML file, a variable
    /// `CONCLAVE_<SECTION>_<KEY>`, or a flag. Relative paths are relative to the working directory. When
    /// the host takes work, it logs one line `ready` with its addresses.
    Serve(Box<ServeArgs>),
    /// Run one real deliberation on an embedded model, watched live.
    ///
    /// A host is started for it and stopped after it. Without --endpoint it serves a small model on
    /// the CPU of this machine: it needs the binary `conclave-local-model` and its weights, which
    /// `make demo` builds and fetches. With --endpoint it uses your own OpenAI-compatible server.
    Demo(DemoArgs),
    /// Submit a task, watch it, and print the outcome.
    ///
    /// Progress stands on stderr, the outcome on stdout. Ctrl-C cancels the deliberation on the host
    /// and waits until that is done; a second one leaves at once. With --detach the command only
    /// submits: watch it with `conclave watch ID`.
    Run(Box<RunArgs>),
    /// Print a deliberation as it is now.
    ///
    /// The report tells state, answers with their scores, and where it has failed, why; when each
    /// generation ran; and the tokens by agent, phase and model. With --json it is one JSON object with
    /// all generations and grades.
    Get(GetArgs),
    /// List deliberations, the newest first.
    ///
    /// Prints a line for each: id, state, age, how long it took, strategy, tokens, and the first line
    /// of its task; with --json a JSON object a line.
    List(ListArgs),
    /// Watch a deliberation from its start or from a place on.
    ///
    /// Prints a line for each event (with --json a JSON object a line), on a terminal a live view.
    /// Ctrl-C only stops watching: the deliberation goes on. When the host restarts, the watch goes on
    /// where it was.
    Watch(WatchArgs),
    /// Cancel a deliberation and abort its generations.
    ///
    /// What was generated before stays in its journal. A deliberation that has ended stays as it is.
    Cancel(CancelArgs),
    /// Run a past deliberation once more, offline, and print each step.
    ///
    /// The components that it ran on get every answer from its record: no model is called. With
    /// --plugin another component takes the part of its kind: the first step that differs is shown,
    /// and what would have come of it. With --export the record becomes a fixture of `plugin test`.
    Replay(Box<ReplayArgs>),
    /// Work on plugins.
    ///
    /// A plugin is a WebAssembly component of one of the worlds of `conclave:deliberation`.
    #[command(subcommand, after_help = help::PLUGIN)]
    Plugin(PluginCommand),
    /// Show and steer Ray clusters and the models that a host serves.
    ///
    /// A host starts model servers and executors as Ray jobs, restarts those that fail, and goes on with
    /// those that run after its own restart.
    #[command(subcommand, after_help = cluster_help::CLUSTER)]
    Cluster(ClusterCommand),
    /// Print a script by which a shell completes this command.
    ///
    /// The script knows the commands and options of this very build: print it again after an update.
    Completions(CompletionsArgs),
    /// Make bearer tokens for `access.tokens` of a host.
    ///
    /// A host knows a token by its sha256 alone; its bearer sends it with every call.
    #[command(subcommand, after_help = help::TOKEN)]
    Token(TokenCommand),
    /// Compile the component on stdin for a host, in a process that is bounded.
    ///
    /// A host starts it for each component that it compiles: nobody types it. Stdin must stay open until
    /// the machine code stands on stdout; its end means that the host is gone.
    #[command(hide = true)]
    CompileComponent(CompileComponentArgs),
}

/// `conclave compile-component`
#[derive(Debug, Args)]
#[command(after_help = help::COMPILE_COMPONENT)]
pub struct CompileComponentArgs {
    /// Bytes of the component.
    #[arg(long, value_name = "BYTES")]
    pub component_bytes: u64,
    /// Bytes of memory that it may take.
    #[arg(long, value_name = "BYTES")]
    pub memory_bytes: u64,
    /// Seconds of CPU time that it may take.
    #[arg(long, value_name = "SECONDS")]
    pub cpu_seconds: u64,
}

impl CompileComponentArgs {
    /// What the process may read and use.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            component_bytes: self.component_bytes,
            memory_bytes_max: self.memory_bytes,
            cpu_seconds_max: self.cpu_seconds,
        }
    }
}

/// `conclave serve`
#[derive(Debug, Default, Args)]
#[command(after_help = help::SERVE)]
pub struct ServeArgs {
    /// The TOML file; none is read unless it is named.
    #[arg(long, value_name = "FILE", env = "CONCLAVE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where journal and plugins are kept [default: conclave-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where gRPC listens; port 0 takes a free one [default: 127.0.0.1:50056].
    #[arg(long, value_name = "IP:PORT")]
    pub grpc_addr: Option<String>,
    /// Where the pages listen: /healthz, /readyz, /metrics, /events [default: 127.0.0.1:9056].
    #[arg(long, value_name = "IP:PORT")]
    pub http_addr: Option<String>,
    /// The OpenAI-compatible server of requests that name none.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The model of requests that name none.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// A directory whose .wasm files are loaded beside the built-in plugins.
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<String>,
    /// trace, debug, info, warning, error, critical or off [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Any setting, by its key; may stand several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Print the effective configuration, check it and what it leads to (model servers, data
    /// directory, ports, plugins), and exit.
    #[arg(long)]
    pub check: bool,
    /// With --check: print one JSON object.
    #[arg(long, requires = "check")]
    pub json: bool,
    /// Print the reference of all settings as Markdown, and exit.
    #[arg(long, conflicts_with = "check")]
    pub reference: bool,
}

impl ServeArgs {
    /// Whether a host shall run: the other ways only print something.
    #[must_use]
    pub fn serves(&self) -> bool {
        !self.check && !self.reference
    }

    /// Where the configuration comes from.
    #[must_use]
    pub fn sources(&self, environment: Environment) -> Sources {
        let named = [
            ("--data-dir", "server.data_dir", &self.data_dir),
            ("--grpc-addr", "server.grpc_addr", &self.grpc_addr),
            ("--http-addr", "server.http_addr", &self.http_addr),
            ("--endpoint", "inference.endpoint", &self.endpoint),
            ("--model", "inference.model", &self.model),
            ("--plugins", "plugins.dir", &self.plugins),
            ("--log-level", "log.level", &self.log_level),
        ];
        let set = self.set.iter().map(|(key, text)| Flag {
            name: "--set",
            key: key.clone(),
            text: text.clone(),
        });
        let named = named.into_iter().filter_map(|(name, key, text)| {
            Some(Flag {
                name,
                key: key.to_owned(),
                text: text.clone()?,
            })
        });
        Sources {
            file: self.config.clone(),
            environment,
            flags: set.chain(named).collect(),
        }
    }
}

/// `conclave demo`
#[derive(Debug, Args)]
#[command(after_help = help::DEMO)]
pub struct DemoArgs {
    /// An OpenAI-compatible server to use instead of the embedded model.
    #[arg(long, value_name = "URL", requires = "model")]
    pub endpoint: Option<String>,
    /// The model to ask for.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The model server to start [default: $CONCLAVE_LOCAL_MODEL, else conclave-local-model beside
    /// this binary, or in PATH].
    #[arg(long, value_name = "PATH", conflicts_with = "endpoint")]
    pub local_model: Option<PathBuf>,
    /// The model's GGUF file [default: $CONCLAVE_WEIGHTS, else what host/local-model/fetch-model.sh
    /// fetches].
    #[arg(long, value_name = "PATH", conflicts_with = "endpoint")]
    pub weights: Option<PathBuf>,
    /// Print the finished deliberation as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// How a client command reaches a host, and how it prints.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// The host's gRPC address; https:// where it has a certificate.
    #[arg(
        long,
        value_name = "URL",
        env = "CONCLAVE_ADDR",
        default_value = "http://127.0.0.1:50056"
    )]
    pub addr: String,
    /// The roots of the host's certificate, as PEM [default: those of this machine].
    #[arg(long, value_name = "FILE", env = "CONCLAVE_CA")]
    pub ca: Option<PathBuf>,
    /// A client certificate, as PEM, for hosts that ask for one.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The client certificate's private key, as PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// A file with the bearer token; it outdoes CONCLAVE_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The bearer token. Set the variable: arguments can be seen by other users of the machine.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CONCLAVE_TOKEN",
        hide = true,
        hide_env_values = true
    )]
    pub token: Option<Bearer>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Connection {
    /// Reaches a host at this address that asks for nothing.
    #[must_use]
    pub fn to(addr: &str) -> Self {
        Self {
            addr: addr.to_owned(),
            ..Self::default()
        }
    }
}

/// `conclave run`
#[derive(Debug, Args)]
#[command(after_help = help::RUN)]
pub struct RunArgs {
    /// The question or instruction.
    pub task: String,
    /// How many agents deliberate.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub agents: u32,
    /// The strategy, NAME, NAME@VERSION or NAME@sha256:DIGEST [default: the host's].
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<PluginChoice>,
    /// The scorer, NAME, NAME@VERSION or NAME@sha256:DIGEST [default: the host's].
    #[arg(long, value_name = "NAME")]
    pub scorer: Option<PluginChoice>,
    /// The model of all agents [default: the host's].
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The OpenAI-compatible server; the host must allow it [default: the host's].
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The role that the answer is for.
    #[arg(long, value_name = "ROLE", default_value = "")]
    pub role: String,
    /// The strategy's params, a JSON object [default: {}].
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,
    /// One param of the strategy; the key may be a path with dots, the value is JSON or else a text;
    /// may stand several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub param: Vec<(String, String)>,
    /// The scorer's params, a JSON object [default: {}].
    #[arg(long, value_name = "JSON")]
    pub scorer_params: Option<String>,
    /// One param of the scorer, as --param; may stand several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub scorer_param: Vec<(String, String)>,
    /// Seconds from acceptance to the deadline [default: the host's].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,
    /// How often a failed generation is tried again [default: the host's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub max_retries: Option<i32>,
    /// A label that comes back with the deliberation; may stand several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub label: Vec<(String, String)>,
    /// 0 (last) to 9 (first): which generations are sent first while more wait than the host may have in
    /// flight [default: 4].
    #[arg(long, value_name = "0..9", value_parser = clap::value_parser!(i32).range(0..=9))]
    pub priority: Option<i32>,
    /// The client's id of the task.
    #[arg(long, value_name = "ID", default_value = "cli")]
    pub task_id: String,
    /// Makes the submit idempotent: the same id is the same deliberation.
    #[arg(long, value_name = "ID", default_value = "")]
    pub request_id: String,
    /// Only submit, and print the id.
    #[arg(long)]
    pub detach: bool,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave list`
#[derive(Debug, Args)]
#[command(after_help = help::LIST)]
pub struct ListArgs {
    /// Which deliberations [default: all].
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "",
        hide_default_value = true
    )]
    pub filter: String,
    /// How many at most; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave get`
#[derive(Debug, Args)]
#[command(after_help = help::GET)]
pub struct GetArgs {
    /// The deliberation's id.
    pub id: String,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave watch`
#[derive(Debug, Args)]
#[command(after_help = help::WATCH)]
pub struct WatchArgs {
    /// The deliberation's id.
    pub id: String,
    /// Show what happened behind this sequence only.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub after: i64,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave cancel`
#[derive(Debug, Args)]
#[command(after_help = help::CANCEL)]
pub struct CancelArgs {
    /// The deliberation's id.
    pub id: String,
    /// Why; it is kept with the deliberation.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Write a project for a new plugin.
    ///
    /// It holds the SDK and the contract, a plugin that works, its tests, and a README with the one
    /// command that builds it. Nothing is fetched, and nothing is overwritten.
    New(PluginNewArgs),
    /// Check whether a component may be a plugin, without a host.
    ///
    /// The checks and their words are those of the host: it must be a component of a known world,
    /// import only what is linked, fit the limits, compile, describe itself by the rules, and survive a
    /// deliberation with three agents and a scripted model server.
    Check(PluginCheckArgs),
    /// Sign a component, for hosts that want to know whose it is.
    ///
    /// The component is checked first: what is signed is its bytes, and the name, version and world by
    /// which it describes itself. The signature is a line of text beside the component.
    Sign(PluginSignArgs),
    /// Test a plugin in the real runtime, by its cases and the conformance suite.
    ///
    /// Runs every `tests/*.toml` of a project against a scripted model server or a recorded
    /// deliberation, and then the rules that every plugin must keep; nothing waits in real time. Prints
    /// a line for each, and of what failed what was expected, what came, and every step.
    Test(PluginTestArgs),
    /// List the plugins that a host has.
    ///
    /// A star marks the plugins of requests that name none; held is how many unfinished deliberations run
    /// on it. With --json it prints a JSON object a line.
    List(PluginListArgs),
    /// Print all that a host knows of a plugin.
    ///
    /// Digest, origin, size, contract, what its name stands for, what was seen of the canary, the last
    /// changes, and the JSON Schema of its params.
    Inspect(PluginInspectArgs),
    /// What steers the plugins of a host.
    #[command(flatten)]
    Steer(SteerCommand),
}

/// `conclave plugin new`
#[derive(Debug, Args)]
#[command(after_help = help::PLUGIN_NEW)]
pub struct PluginNewArgs {
    /// Lower-case words with hyphens, at most 64 characters.
    pub name: String,
    /// What it makes.
    #[arg(long, value_name = "KIND")]
    pub kind: Kind,
    /// What it is written in.
    #[arg(long, value_name = "LANGUAGE")]
    pub lang: Language,
    /// Where to write it, missing or empty; NAME unless given.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print one JSON object: what was written, and the commands.
    #[arg(long)]
    pub json: bool,
}

/// `conclave plugin list`
#[derive(Debug, Args)]
#[command(after_help = help::PLUGIN_LIST)]
pub struct PluginListArgs {
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin inspect`
#[derive(Debug, Args)]
#[command(after_help = help::PLUGIN_INSPECT)]
pub struct PluginInspectArgs {
    /// NAME, NAME@VERSION, NAME@CHANNEL or NAME@sha256:DIGEST; a name stands for its stable version.
    pub plugin: PluginChoice,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave plugin check`
#[derive(Debug, Args)]
#[command(after_help = help::PLUGIN_CHECK)]
pub struct PluginCheckArgs {
    /// The component.
    pub file: PathBuf,
    /// A configuration whose settings of plugins apply: limits, and trusted keys.
    #[arg(long, value_name = "FILE", env = "CONCLAVE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Its signature, as `plugin sign` wrote it; it must be of one of plugins.trusted_keys
    /// [default: what lies beside it with `.sig` behind its name, if the settings ask for one].
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `conclave plugin sign`
#[derive(Debug, Args)]
#[command(after_help = help::PLUGIN_SIGN)]
pub struct PluginSignArgs {
    /// The component.
    pub file: PathBuf,
    /// The private key (ed25519), as PEM.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Where the signature goes [default: the component's path with `.sig` behind it].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// A configuration whose [plugins.limits] apply.
    #[arg(long, value_name = "FILE", env = "CONCLAVE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `conclave plugin test`
#[derive(Debug, Args)]
#[command(after_help = help::PLUGIN_TEST)]
pub struct PluginTestArgs {
    /// A project's directory, or a component with `tests` beside it.
    pub path: PathBuf,
    /// Only cases and rules whose name holds this text.
    pub filter: Option<String>,
    /// The component [default: what the project's last build made].
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,
    /// Only the conformance suite, no cases.
    #[arg(long)]
    pub conformance: bool,
    /// The plugin's params in the conformance suite [default: {}, or those of its first case].
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,
    /// A configuration whose [plugins.limits] apply.
    #[arg(long, value_name = "FILE", env = "CONCLAVE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `conclave replay`
#[derive(Debug, Args)]
#[command(after_help = help::REPLAY)]
pub struct ReplayArgs {
    /// The deliberation's id; not needed with --record.
    #[arg(required_unless_present = "record", conflicts_with = "record")]
    pub id: Option<String>,
    /// Another component, to be run on what was recorded.
    #[arg(long, value_name = "FILE")]
    pub plugin: Option<PathBuf>,
    /// Write the record to this file, for `plugin test`, instead of replaying it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plugin", "record"])]
    pub export: Option<PathBuf>,
    /// Read the record, and the components, from a host's data directory; the host may run.
    #[arg(long, value_name = "DIR", conflicts_with = "record")]
    pub data_dir: Option<PathBuf>,
    /// Read the record from an exported file.
    #[arg(long, value_name = "FILE", requires = "plugin")]
    pub record: Option<PathBuf>,
    /// Where the host is.
    #[command(flatten)]
    pub connection: Connection,
}

/// `conclave completions`
#[derive(Debug, Args)]
#[command(after_help = help::COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell that shall read it.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `conclave token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a fresh token, and print it once with its entry in the configuration.
    ///
    /// It is random (256 bits) and kept nowhere: give it to its bearer, who sends it as the header
    /// `authorization: Bearer TOKEN`. Client commands take it from CONCLAVE_TOKEN or --token-file.
    New(TokenNewArgs),
    /// Print the sha256 of a token on stdin, for `sha256` in `access.tokens`.
    ///
    /// A line break behind the token is not part of it. What is printed fits `sha256_file`, too.
    Hash(TokenHashArgs),
}

/// `conclave token new`
#[derive(Debug, Args)]
#[command(after_help = help::TOKEN_NEW)]
pub struct TokenNewArgs {
    /// Who will show it; it stands in the audit log.
    pub name: String,
    /// What its bearer may do: viewer, client or operator.
    #[arg(long, value_name = "ROLE", value_parser = role)]
    pub role: Role,
    /// Whose records its bearer sees and makes.
    #[arg(long, value_name = "TENANT", default_value = conclave_core::ids::Tenant::DEFAULT, value_parser = tenant)]
    pub tenant: String,
    /// When it ends, as RFC 3339 [default: never].
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub expires: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `conclave token hash`
#[derive(Debug, Args)]
#[command(after_help = help::TOKEN_HASH)]
pub struct TokenHashArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

fn role(text: &str) -> Result<Role, String> {
    Role::of(text).ok_or_else(|| "it must be viewer, client or operator".to_owned())
}

fn tenant(text: &str) -> Result<String, String> {
    match conclave_core::ids::Tenant::parse(text) {
        Ok(tenant) => Ok(tenant.to_string()),
        Err(error) => Err(format!("it {error}")),
    }
}

fn time(text: &str) -> Result<String, String> {
    match text.parse::<prost_types::Timestamp>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("it must be a time like 2030-01-31T00:00:00Z".to_owned()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn named_flags_outdo_set() {
        let typed = [
            "conclave",
            "serve",
            "--model",
            "a",
            "--set",
            "inference.model=b",
            "--set",
            "log.level=off",
        ];
        let Command::Serve(args) = Cli::try_parse_from(typed).unwrap().command else {
            unreachable!("it is serve");
        };
        let loaded = crate::config::load(&args.sources(Environment::default())).unwrap();
        assert_eq!(loaded.config.inference.model.as_deref(), Some("a"));
        assert_eq!(String::from(loaded.config.log.level), "off");
    }

    #[test]
    fn wrong_usage_is_refused() {
        for typed in [
            &["conclave", "run"][..],
            &["conclave", "run", "x", "--agents", "0"],
            &["conclave", "run", "x", "--param", "novalue"],
            &["conclave", "serve", "--json"],
            &["conclave", "demo", "--endpoint", "http://h"],
        ] {
            assert_eq!(
                Cli::try_parse_from(typed).unwrap_err().exit_code(),
                2,
                "{typed:?}"
            );
        }
    }
}
