//! Nodes and their GPUs, from the summary that Ray's own dashboard shows.

use std::collections::HashMap;

use conclave_core::cluster::{Error, Gpu, Node, Share};
use serde::Deserialize;
use serde_json::Value;

use super::call::{Answer, Dashboard};

/// Ray counts the memory of GPUs in mebibytes.
const MIB: f64 = 1_048_576.0;

#[derive(Deserialize)]
struct Told {
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    summary: Vec<Value>,
    /// What is taken of each node's resources, as text for people: `0.5/2.0 CPU`, a line each. It is the
    /// one form that both autoscalers of Ray have.
    #[serde(default)]
    node_logical_resources: HashMap<String, String>,
}

impl Dashboard {
    pub(super) async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let mut url = self.url(&["nodes"]);
        url.set_query(Some("view=summary"));
        let body = match self.get(url).await? {
            Answer::Done(body) => body,
            Answer::Refused(refused) => return Err(self.rejected(&refused)),
        };
        let Told { data } = self.read(&body)?;
        let nodes = data.summary.iter();
        Ok(nodes
            .filter_map(|node| read(node, &data.node_logical_resources))
            .collect())
    }
}

/// A node, unless it has no id.
fn read(node: &Value, taken: &HashMap<String, String>) -> Option<Node> {
    let raylet = &node["raylet"];
    let id = raylet["nodeId"].as_str()?;
    let ip = raylet["nodeManagerAddress"].as_str();
    let ip = ip.or_else(|| node["ip"].as_str()).unwrap_or_default();
    let taken = taken.get(id).map_or("", String::as_str);
    let share = |name: &str| {
        let total = raylet["resourcesTotal"][name].as_f64().unwrap_or_default();
        Share {
            total,
            free: (total - taken_of(taken, name)).clamp(0.0, total.max(0.0)),
        }
    };
    let gpus = node["gpus"].as_array().into_iter().flatten();
    Some(Node {
        id: id.to_owned(),
        ip: ip.to_owned(),
        alive: raylet["state"] == "ALIVE",
        cpus: share("CPU"),
        gpus: share("GPU"),
        devices: gpus.zip(0..).map(|(gpu, at)| device(gpu, at)).collect(),
    })
}

/// How much of a resource is taken: `USED/TOTAL NAME`, or `USED/TOTAL NAME (PART used of RESERVED reserved
/// in placement groups)`, where what is reserved and not used is not in `USED`, though nobody else gets it.
fn taken_of(lines: &str, name: &str) -> f64 {
    let of_name = lines.lines().find_map(|line| {
        let (amounts, rest) = line.trim().split_once(' ')?;
        let rest = rest.strip_prefix(name)?;
        let used: f64 = amounts.split_once('/')?.0.parse().ok()?;
        match rest.trim().strip_prefix('(') {
            None if rest.trim().is_empty() => Some(used),
            None => None,
            Some(groups) => {
                let (part, reserved) = groups.split_once(" used of ")?;
                let part: f64 = part.parse().ok()?;
                let reserved: f64 = reserved.split(' ').next()?.parse().ok()?;
                Some(used + (reserved - part).max(0.0))
            }
        }
    });
    of_name.unwrap_or_default()
}

fn device(gpu: &Value, at: u32) -> Gpu {
    let bytes = |mib: &Value| mib.as_f64().map(|mib| (mib * MIB) as u64);
    let index = gpu["index"].as_u64();
    let index = index.and_then(|index| u32::try_from(index).ok());
    Gpu {
        index: index.unwrap_or(at),
        name: gpu["name"].as_str().unwrap_or_default().to_owned(),
        utilization_percent: gpu["utilizationGpu"].as_f64(),
        memory_used_bytes: bytes(&gpu["memoryUsed"]),
        memory_total_bytes: bytes(&gpu["memoryTotal"]),
    }
}
