//! What a host costs: how many deliberations it takes, how long calls last, what memory it holds,
//! how quickly a plugin starts, how quickly a host does, and where the time goes.
//!
//! `deliberations [COUNT] [FILE.wasm …] [--only NAME] [--json]` starts a stub of a model server and a host, each in
//! a process of its own, for each of the benchmarks of [`Name`]. README.md says what the figures mean.

mod bare;
mod clusters;
mod disk;
mod instance;
mod isolation;
mod load;
mod memory;
mod numbers;
mod pace;
mod plugins;
mod processes;
mod report;
mod restart;
mod savings;
mod status;
mod submit;
mod swap;
mod throughput;
mod usage;
mod vllm;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::report::Report;

/// As in the host's binary, whose plugins one of the benchmarks runs in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Deliberations at 64 clients, and in the other benchmarks as README.md says.
const COUNT: usize = 4_000;

/// The benchmarks, in the order in which they are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Disk,
    Throughput,
    Submit,
    Status,
    Memory,
    Instance,
    Plugins,
    Isolation,
    Swap,
    Restart,
    Clusters,
    Savings,
    Vllm,
}

impl Name {
    const ALL: [(&'static str, Self); 13] = [
        ("disk", Self::Disk),
        ("throughput", Self::Throughput),
        ("submit", Self::Submit),
        ("status", Self::Status),
        ("memory", Self::Memory),
        ("instance", Self::Instance),
        ("plugins", Self::Plugins),
        ("isolation", Self::Isolation),
        ("swap", Self::Swap),
        ("restart", Self::Restart),
        ("clusters", Self::Clusters),
        ("savings", Self::Savings),
        ("vllm", Self::Vllm),
    ];

    fn parse(text: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        let (_, name) = found.with_context(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            format!("there is no benchmark `{text}`, but {names}")
        })?;
        Ok(*name)
    }
}

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    count: usize,
    /// The only benchmark to run; the disk is measured in any case.
    only: Option<Name>,
    json: bool,
    /// Components to measure in `plugins`, instead of those that are found.
    files: Vec<PathBuf>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            count: COUNT,
            only: None,
            json: false,
            files: Vec::new(),
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => options.json = true,
                "--only" => {
                    let name = args.next().context("`--only` needs a name")?;
                    options.only = Some(Name::parse(&name)?);
                }
                file if file.ends_with(".wasm") => options.files.push(file.into()),
                count => match count.parse() {
                    Ok(0) | Err(_) => bail!("`{count}` is no number of deliberations"),
                    Ok(count) => options.count = count,
                },
            }
        }
        Ok(options)
    }

    fn runs(&self, name: Name) -> bool {
        name == Name::Disk || self.only.is_none_or(|only| only == name)
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    // One thread, which leaves the rest of the machine to the host.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(&options))?;
    let text = match options.json {
        true => format!("{:#}\n", serde_json::to_value(&report)?),
        false => report.text(),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let count = options.count;
    let mut report = Report::default();
    for (said, name) in Name::ALL {
        if !options.runs(name) {
            continue;
        }
        let began = std::time::Instant::now();
        note(&format!("{said} …"))?;
        match name {
            Name::Disk => report.disk = Some(disk::measure()?),
            Name::Throughput => report.throughput = Some(throughput::measure(count).await?),
            Name::Submit => report.submit = Some(submit::measure(count).await?),
            Name::Status => report.status = Box::pin(status::measure(count)).await?,
            Name::Memory => report.memory = Some(Box::pin(memory::measure(count)).await?),
            Name::Instance => report.instance = Some(instance::measure(count).await?),
            Name::Plugins => {
                let measured = Box::pin(plugins::measure(count, &options.files)).await?;
                report.plugins = Some(measured);
            }
            Name::Isolation => report.isolation = Box::pin(isolation::measure(count)).await?,
            Name::Swap => report.swap = Some(swap::measure(count).await?),
            Name::Restart => report.restart = Some(restart::measure().await?),
            Name::Clusters => report.clusters = Some(Box::pin(clusters::measure(count)).await?),
            Name::Savings => report.savings = savings::measure(count).await?,
            Name::Vllm => match vllm::installed() {
                Ok(()) => report.vllm = Some(Box::pin(vllm::measure(count)).await?),
                // Its seven gigabytes are not asked of everybody who measures something else.
                Err(error) if options.only.is_none() => note(&format!(" left out: {error:#}"))?,
                Err(error) => return Err(error),
            },
        }
        note(&format!(" {} s\n", began.elapsed().as_secs()))?;
    }
    Ok(report)
}

/// Shows how far it is, beside the report.
fn note(text: &str) -> std::io::Result<()> {
    let mut err = std::io::stderr().lock();
    err.write_all(text.as_bytes())?;
    err.flush()
}
