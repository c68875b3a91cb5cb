//! What each method and each page needs. What is not listed needs the role that may do most.

use super::Role;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The least role that may make it; `None` where anybody may, without a token.
    pub role: Option<Role>,
    /// Whether it changes something, and is noted in the audit log.
    pub changes: bool,
    /// Whether it is of the packages that were there before access control: a host that stands in for
    /// the service before serves them to whoever calls.
    pub legacy: bool,
}

impl Rule {
    /// Open to anybody.
    const OPEN: Self = Self {
        role: None,
        changes: false,
        legacy: false,
    };
    /// What nobody has thought of.
    const UNKNOWN: Self = Self {
        role: Some(Role::Operator),
        changes: true,
        legacy: false,
    };

    const fn reads(role: Role) -> Self {
        Self {
            role: Some(role),
            ..Self::OPEN
        }
    }

    const fn changes(role: Role) -> Self {
        Self {
            role: Some(role),
            changes: true,
            legacy: false,
        }
    }

    const fn legacy(self) -> Self {
        Self {
            legacy: true,
            ..self
        }
    }
}

const VIEWS: Rule = Rule::reads(Role::Viewer);
const WORKS: Rule = Rule::changes(Role::Client);
const STEERS: Rule = Rule::changes(Role::Operator);

/// Every method by its service; `*` stands for all methods of one.
const METHODS: &[(&str, &str, Rule)] = &[
    ("conclave.v1.Deliberations", "CreateDeliberation", WORKS),
    ("conclave.v1.Deliberations", "GetDeliberation", VIEWS),
    ("conclave.v1.Deliberations", "ListDeliberations", VIEWS),
    ("conclave.v1.Deliberations", "WatchDeliberation", VIEWS),
    ("conclave.v1.Deliberations", "WaitDeliberation", VIEWS),
    ("conclave.v1.Deliberations", "CancelDeliberation", WORKS),
    ("conclave.v1.Records", "ListGenerations", VIEWS),
    ("conclave.v1.Records", "GetGeneration", VIEWS),
    ("conclave.v1.Records", "ListScores", VIEWS),
    ("conclave.v1.Records", "GetUsage", VIEWS),
    ("conclave.v1.Records", "ExportRecord", VIEWS),
    ("conclave.v1.Plugins", "ListPlugins", VIEWS),
    ("conclave.v1.Plugins", "GetPlugin", VIEWS),
    ("conclave.v1.Plugins", "UploadPlugin", STEERS),
    ("conclave.v1.Plugins", "ImportPlugin", STEERS),
    ("conclave.v1.Plugins", "DeletePlugin", STEERS),
    ("conclave.v1.Plugins", "ListChannels", VIEWS),
    ("conclave.v1.Plugins", "StartCanary", STEERS),
    ("conclave.v1.Plugins", "PromotePlugin", STEERS),
    ("conclave.v1.Plugins", "RollbackPlugin", STEERS),
    ("conclave.v1.Plugins", "ListPluginChanges", VIEWS),
    ("conclave.v1.Plugins", "ListPluginUse", VIEWS),
    ("conclave.v1.Plugins", "DownloadPlugin", VIEWS),
    ("conclave.v1.Clusters", "ListClusters", VIEWS),
    ("conclave.v1.Clusters", "ListModels", VIEWS),
    ("conclave.v1.Clusters", "ScaleModel", STEERS),
    ("conclave.v1.Clusters", "DrainCluster", STEERS),
    ("conclave.v1.Clusters", "ResumeCluster", STEERS),
    (DOCUMENTED, "ExecuteDeliberation", WORKS.legacy()),
    (DOCUMENTED, "GetDeliberationStatus", VIEWS.legacy()),
    (DOCUMENTED, "GetStatus", VIEWS.legacy()),
    (DOCUMENTED, "GetActiveJobs", VIEWS.legacy()),
    (FLEET, "ExecuteDeliberation", WORKS.legacy()),
    (FLEET, "ExecuteBacklogReviewDeliberation", WORKS.legacy()),
    (FLEET, "GetDeliberationStatus", VIEWS.legacy()),
    (FLEET, "GetStatus", VIEWS.legacy()),
    (FLEET, "GetActiveJobs", VIEWS.legacy()),
    // Probes have no token.
    ("grpc.health.v1.Health", "*", Rule::OPEN),
    ("grpc.reflection.v1.ServerReflection", "*", VIEWS),
    ("grpc.reflection.v1alpha.ServerReflection", "*", VIEWS),
];

const DOCUMENTED: &str = "ray_executor.v1.RayExecutorService";
const FLEET: &str = "fleet.ray_executor.v1.RayExecutorService";

/// The rule of a gRPC method by its path, `/package.Service/Method`.
#[must_use]
pub fn of_method(path: &str) -> Rule {
    listed(path).unwrap_or(Rule::UNKNOWN)
}

fn listed(path: &str) -> Option<Rule> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let found = METHODS.iter().find(|(of, name, _)| {
        *of == service && (*name == method || *name == "*" && !method.is_empty())
    });
    found.map(|(_, _, rule)| *rule)
}

/// The rule of an HTTP page by its path. Probes have no token.
#[must_use]
pub fn of_page(path: &str, metrics_open: bool) -> Rule {
    match path {
        "/healthz" | "/readyz" => Rule::OPEN,
        "/metrics" if metrics_open => Rule::OPEN,
        _ => VIEWS,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::grpc::pb;

    /// Every method that the host serves.
    fn served() -> Vec<String> {
        let sets = [
            pb::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut paths = Vec::new();
        for set in sets {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    let name = format!("{}.{}", file.package(), service.name());
                    let methods = service.method.iter();
                    paths.extend(methods.map(|method| format!("/{name}/{}", method.name())));
                }
            }
        }
        paths
    }

    #[test]
    fn every_method_of_every_service_has_a_rule() {
        let served = served();
        assert!(served.len() >= 16, "{served:?}");
        let without: Vec<_> = served
            .iter()
            .filter(|path| listed(path).is_none())
            .collect();
        assert!(
            without.is_empty(),
            "add a rule to METHODS, or only operators may call: {without:?}"
        );
        for (service, method, _) in METHODS.iter().filter(|(_, method, _)| *method != "*") {
            let path = format!("/{service}/{method}");
            assert!(served.contains(&path), "there is no method {path}");
        }
    }

    #[test]
    fn what_is_not_listed_needs_an_operator() {
        for path in [
            "",
            "/",
            "/a/b",
            "/conclave.v1.Deliberations/DropAll",
            "healthz",
        ] {
            assert_eq!(of_method(path), Rule::UNKNOWN, "{path}");
        }
        assert_eq!(of_method("/grpc.health.v1.Health/"), Rule::UNKNOWN);
    }

    #[test]
    fn whoever_only_looks_changes_nothing() {
        for (_, method, rule) in METHODS {
            let looks = ["Get", "List", "Watch", "Wait", "Export", "Download", "*"];
            let looks = looks.iter().any(|verb| method.starts_with(verb));
            assert_eq!(rule.changes, !looks, "{method}");
            assert!(rule.role <= Some(Role::Viewer) || rule.changes, "{method}");
        }
    }

    #[test]
    fn health_pages_are_open_and_others_are_not() {
        assert_eq!(of_page("/healthz", false).role, None);
        assert_eq!(of_page("/readyz", false).role, None);
        for page in ["/metrics", "/events", "/", "/healthz/", "/nothing"] {
            assert_eq!(of_page(page, false).role, Some(Role::Viewer), "{page}");
        }
        assert_eq!(of_page("/metrics", true).role, None);
        assert_eq!(of_page("/events", true).role, Some(Role::Viewer));
    }
}
