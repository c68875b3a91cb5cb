//! The descriptors against the contract: a number that moved would be misread without an error.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

use crate::grpc::pb;

fn file(package: &str) -> FileDescriptorProto {
    let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    set.file
        .into_iter()
        .find(|file| file.package() == package)
        .unwrap()
}

/// Every message of a package as `number name: type, …`.
fn messages(package: &str) -> BTreeMap<String, String> {
    let file = file(package);
    let line = |message: &DescriptorProto| {
        let fields: Vec<_> = message
            .field
            .iter()
            .map(|field| self::field(message, field))
            .collect();
        (message.name().to_owned(), fields.join(", "))
    };
    file.message_type.iter().map(line).collect()
}

fn field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let short = field.type_name().rsplit('.').next().unwrap_or_default();
    let is_map = message.nested_type.iter().any(|nested| {
        nested.name() == short
            && nested
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry())
    });
    let of_type = match field.r#type() {
        Type::String => "string",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Float => "float",
        Type::Bool => "bool",
        Type::Message if is_map => "map<string,string>",
        Type::Message => short,
        other => panic!("{other:?}"),
    };
    let repeated = field.label() == Label::Repeated && !is_map;
    let repeated = if repeated { "repeated " } else { "" };
    format!("{} {}: {repeated}{of_type}", field.number(), field.name())
}

fn methods(package: &str) -> Vec<String> {
    let file = file(package);
    let service = &file.service[0];
    assert_eq!(service.name(), "RayExecutorService");
    let short = |name: &str| {
        name.strip_prefix(&format!(".{package}."))
            .unwrap()
            .to_owned()
    };
    let line = |method: &prost_types::MethodDescriptorProto| {
        assert!(!method.client_streaming() && !method.server_streaming());
        format!(
            "{}({}) -> {}",
            method.name(),
            short(method.input_type()),
            short(method.output_type())
        )
    };
    service.method.iter().map(line).collect()
}

const SUBMIT: &str = "1 task_id: string, 2 task_description: string, 3 role: string, 4 constraints: TaskConstraints, \
                      5 agents: repeated Agent, 6 vllm_url: string, 7 vllm_model: string";

/// What both packages have in common.
const COMMON: &[(&str, &str)] = &[
    ("ExecuteDeliberationRequest", SUBMIT),
    ("GetDeliberationStatusRequest", "1 deliberation_id: string"),
    (
        "GetDeliberationStatusResponse",
        "1 status: string, 2 result: DeliberationResult, 3 error_message: string",
    ),
    ("GetStatusRequest", "1 include_stats: bool"),
    ("GetActiveJobsRequest", ""),
    ("GetActiveJobsResponse", "1 jobs: repeated JobInfo"),
    (
        "TaskConstraints",
        "1 story_id: string, 2 plan_id: string, 3 timeout_seconds: int32, 4 max_retries: int32, \
         5 metadata: map<string,string>",
    ),
    (
        "Agent",
        "1 id: string, 2 role: string, 3 model: string, 4 prompt_template: string",
    ),
    (
        "DeliberationResult",
        "1 agent_id: string, 2 proposal: string, 3 reasoning: string, 4 score: float, 5 metadata: map<string,string>",
    ),
    (
        "JobInfo",
        "1 job_id: string, 2 name: string, 3 status: string, 4 submission_id: string, 5 role: string, \
         6 task_id: string, 7 start_time: Timestamp, 8 end_time: Timestamp, 9 runtime: string",
    ),
];

const STATS: &str = "1 total_deliberations: int64, 2 active_deliberations: int64, 3 completed_deliberations: int64, \
                     4 failed_deliberations: int64, 5 average_execution_time_ms: float";

fn expected(own: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = COMMON.iter().chain(own);
    all.map(|(name, fields)| ((*name).to_owned(), (*fields).to_owned()))
        .collect()
}

#[test]
fn the_documented_package_has_the_contract_s_messages_and_calls() {
    let own = [
        (
            "ExecuteDeliberationResponse",
            "1 deliberation_id: string, 2 status: string, 3 message: string",
        ),
        (
            "GetStatusResponse",
            "1 status: string, 2 stats: ExecutionStats, 3 uptime_seconds: int64",
        ),
        ("ExecutionStats", STATS),
    ];
    assert_eq!(messages("ray_executor.v1"), expected(&own));
    let calls = [
        "ExecuteDeliberation(ExecuteDeliberationRequest) -> ExecuteDeliberationResponse",
        "GetDeliberationStatus(GetDeliberationStatusRequest) -> GetDeliberationStatusResponse",
        "GetStatus(GetStatusRequest) -> GetStatusResponse",
        "GetActiveJobs(GetActiveJobsRequest) -> GetActiveJobsResponse",
    ];
    assert_eq!(methods("ray_executor.v1"), calls);
}

#[test]
fn the_deployed_package_has_the_contract_s_messages_and_calls() {
    let review = SUBMIT.replace("TaskConstraints", "BacklogReviewTaskConstraints");
    let own = [
        ("ExecuteBacklogReviewDeliberationRequest", review.as_str()),
        (
            "BacklogReviewTaskConstraints",
            "1 story_id: string, 2 timeout_seconds: int32, 3 max_retries: int32, 4 metadata: map<string,string>",
        ),
        (
            "ExecuteDeliberationResponse",
            "1 task_id: string, 2 deliberation_id: string, 3 status: string, 4 message: string",
        ),
        (
            "GetStatusResponse",
            "1 status: string, 2 uptime_seconds: int64, 3 stats: RayExecutorStats",
        ),
        ("RayExecutorStats", STATS),
    ];
    assert_eq!(messages("fleet.ray_executor.v1"), expected(&own));
    let calls = [
        "ExecuteDeliberation(ExecuteDeliberationRequest) -> ExecuteDeliberationResponse",
        "ExecuteBacklogReviewDeliberation(ExecuteBacklogReviewDeliberationRequest) -> ExecuteDeliberationResponse",
        "GetDeliberationStatus(GetDeliberationStatusRequest) -> GetDeliberationStatusResponse",
        "GetStatus(GetStatusRequest) -> GetStatusResponse",
        "GetActiveJobs(GetActiveJobsRequest) -> GetActiveJobsResponse",
    ];
    assert_eq!(methods("fleet.ray_executor.v1"), calls);
}

#[test]
fn every_field_and_call_of_the_native_api_is_documented() {
    let file = file("conclave.v1");
    let commented: Vec<_> = file
        .source_code_info
        .iter()
        .flat_map(|info| &info.location)
        .filter(|location| !location.leading_comments().trim().is_empty())
        .map(|location| location.path.as_slice())
        .collect();
    // Paths as in descriptor.proto: message_type is 4 and its field 2, service is 6 and its method 2.
    let documented = |path: &[i32]| commented.contains(&path);
    for (at, message) in (0..).zip(&file.message_type) {
        assert!(documented(&[4, at]), "{}", message.name());
        for (field_at, field) in (0..).zip(&message.field) {
            assert!(
                documented(&[4, at, 2, field_at]),
                "{}.{}",
                message.name(),
                field.name()
            );
        }
    }
    for (at, method) in (0..).zip(&file.service[0].method) {
        assert!(documented(&[6, 0, 2, at]), "{}", method.name());
    }
}
