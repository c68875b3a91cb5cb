//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;

/// Serves a GGUF model on the CPU over the OpenAI chat API.
///
/// When ready, it prints one line of JSON to stdout, {"listening":"http://127.0.0.1:PORT","model":"NAME"},
/// by which a parent process learns the port. It logs to stderr and ends on SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(after_help = "\
Get a model, then serve it:
  conclave-local-model --model \"$(host/local-model/fetch-model.sh)\" --addr 127.0.0.1:8080
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
    -d '{\"model\":\"smollm2-135m-instruct\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'

Endpoints: POST /v1/chat/completions, GET /v1/models, GET /health.
Models: architecture llama, tokenizer smollm, weights in F32, F16, Q4_0, Q4_1 or Q8_0.")]
pub(crate) struct Cli {
    /// The model, a GGUF file.
    #[arg(long, value_name = "PATH.gguf")]
    pub(crate) model: PathBuf,

    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) addr: SocketAddr,

    /// The name that requests give as `model`.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    pub(crate) name: String,

    /// Answers decoded at once; a request may ask for as many.
    #[arg(long, default_value = "8")]
    pub(crate) slots: NonZeroUsize,

    /// Answers that may wait for a slot; beyond, requests get 429.
    #[arg(long, default_value = "64")]
    pub(crate) queue: usize,

    /// Tokens of prompt and answer together, at most [default: what the model was trained on].
    #[arg(long)]
    pub(crate) context: Option<NonZeroUsize>,

    /// Threads that decode [default: the processors of this machine].
    #[arg(long)]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_the_model_must_be_given() {
        let cli = Cli::try_parse_from(["conclave-local-model", "--model", "m.gguf"]).unwrap();
        assert_eq!(cli.addr, SocketAddr::from(([127, 0, 0, 1], 0)));
        assert_eq!(cli.slots.get(), 8);
        assert!(Cli::try_parse_from(["conclave-local-model"]).is_err());
    }
}
