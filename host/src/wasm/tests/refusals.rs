//! What is refused, and in which words.

use super::{Engine, EngineConfig, PluginLimits, built};

async fn refused(limits: PluginLimits, bytes: &[u8]) -> String {
    let engine = Engine::start(EngineConfig {
        limits,
        instances_max: 1,
        ..EngineConfig::default()
    });
    engine.unwrap().check(bytes).await.unwrap_err().to_string()
}

async fn refused_text(wat: &str) -> String {
    refused(PluginLimits::default(), &wat::parse_str(wat).unwrap()).await
}

#[tokio::test]
async fn a_sound_component_is_described() {
    let engine = Engine::start(EngineConfig::default()).unwrap();
    let checked = engine.check(built("hostile")).await.unwrap();
    assert_eq!(checked.plugin.descriptor.name, "hostile");
    assert_eq!(checked.plugin.kind, conclave_core::plugin::Kind::Strategy);
    assert_eq!(checked.contract, "0.1");
    let checked = engine.check(built("hostile-scorer")).await.unwrap();
    assert_eq!(checked.plugin.kind, conclave_core::plugin::Kind::Scorer);
}

#[tokio::test]
async fn a_core_module_is_told_how_to_become_a_component() {
    insta::assert_snapshot!(
        refused_text("(module)").await,
        @"is a core module, a plugin must be a component: build it for the target wasm32-wasip2, or with cargo component, componentize-py or jco"
    );
}

#[tokio::test]
async fn what_is_no_binary_is_told_so() {
    insta::assert_snapshot!(
        refused(PluginLimits::default(), b"(component)").await,
        @"is not a WebAssembly binary, a plugin must be a component: build it for the target wasm32-wasip2, or with cargo component, componentize-py or jco"
    );
}

#[tokio::test]
async fn a_damaged_component_is_refused_with_the_place() {
    let reason = refused(PluginLimits::default(), b"\0asm\x0d\0\x01\0\xff\xff").await;
    assert!(reason.starts_with("cannot be read: "), "{reason}");
    assert!(reason.contains("offset"), "{reason}");
}

/// As linked by `jco componentize --backend quickjs`.
#[tokio::test]
async fn a_component_of_the_quickjs_backend_is_told_to_use_the_other_one() {
    let reason = refused_text(
        r#"(component (core module
            (global (export "componentize_qjs_runtime.wasm:memory_base") i32 (i32.const 0))))"#,
    )
    .await;
    assert!(
        reason.contains("is made by jco's QuickJS backend")
            && reason.contains("leave `--backend` out"),
        "{reason}"
    );
}

#[tokio::test]
async fn another_world_is_told_what_a_plugin_exports() {
    insta::assert_snapshot!(
        refused_text("(component)").await,
        @"exports nothing, but a plugin exports `conclave:deliberation/describe` and the function `deliberate` (a strategy) or `evaluate` (a scorer) of contract 0.1"
    );
}

#[tokio::test]
async fn every_reason_is_listed() {
    let reason = refused_text(
        r#"(component
            (import "wasi:http/outgoing-handler@0.2.0" (instance))
            (import "env" (func))
            (core module $m (memory 2000) (table 20000 funcref))
            (core instance (instantiate $m)))"#,
    );
    let reason = reason.await;
    let reasons: Vec<_> = reason.split("; ").collect();
    insta::assert_snapshot!(reasons.join("\n"), @"
    has 131072000 bytes in a memory at its start, at most 67108864 are allowed (`plugins.limits.memory_bytes_max`): link it with less initial memory, or raise the limit
    has 20000 elements in a table at its start, at most 10000 are allowed (`plugins.limits.table_elements_max`): link fewer functions, or raise the limit
    exports nothing, but a plugin exports `conclave:deliberation/describe` and the function `deliberate` (a strategy) or `evaluate` (a scorer) of contract 0.1
    imports `env`, a plugin may import only `conclave:deliberation` 0.1 and, of version 0.2, wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random, wasi:sockets: leave out what needs it
    imports `wasi:http/outgoing-handler@0.2.0`, a plugin may import only `conclave:deliberation` 0.1 and, of version 0.2, wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random, wasi:sockets: leave out what needs it
    ");
}

/// A name of a few bytes would come back as a reason of some hundred.
#[tokio::test]
async fn very_many_imports_or_exports_are_one_reason() {
    let imports: String = (0..2_001)
        .map(|number| format!("(import \"i{number}\" (func))"))
        .collect();
    insta::assert_snapshot!(
        refused_text(&format!("(component {imports})")).await,
        @"has more than 2000 imports, which no plugin may have: a plugin needs those of its world only"
    );
    let exports: String = (0..2_001)
        .map(|number| format!("(export \"e{number}\" (func $f))"))
        .collect();
    insta::assert_snapshot!(
        refused_text(&format!("(component (import \"f\" (func $f)) {exports})")).await,
        @"has more than 2000 exports, which no plugin may have: a plugin needs those of its world only"
    );
    let header = b"\0asm\x0d\0\x01\0";
    let mut deep = header.to_vec();
    for _ in 0..100 {
        // A section with a component, and its size in two bytes.
        let size = deep.len();
        let section = [
            4,
            u8::try_from(size % 128).unwrap() | 128,
            (size / 128).try_into().unwrap(),
        ];
        deep = [&header[..], &section[..], &deep[..]].concat();
    }
    insta::assert_snapshot!(
        refused(PluginLimits::default(), &deep).await,
        @"has more than 100 modules and components inside each other, which no plugin may have: compose it from fewer"
    );
}

#[tokio::test]
async fn an_export_of_another_type_is_named() {
    let reason = refused_text(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $describe (export "describe" (func $f)))
            (export "conclave:deliberation/describe@0.1.0" (instance $describe))
            (export "deliberate" (func $f)))"#,
    );
    let reason = reason.await;
    assert!(
        reason.starts_with("does not fit the strategy world of contract 0.1: "),
        "{reason}"
    );
}

#[tokio::test]
async fn more_memories_than_allowed_are_counted() {
    let reason = refused_text(
        r#"(component
            (core module $m (memory 1))
            (core instance (instantiate $m)) (core instance (instantiate $m))
            (core instance (instantiate $m)) (core instance (instantiate $m))
            (core instance (instantiate $m))
            (core module $f (func (export "f")))
            (core instance $i (instantiate $f))
            (func $f (canon lift (core func $i "f")))
            (instance $describe (export "describe" (func $f)))
            (export "conclave:deliberation/describe@0.1.0" (instance $describe))
            (export "evaluate" (func $f)))"#,
    );
    insta::assert_snapshot!(
        reason.await,
        @"needs 5 memories, at most 4 are allowed (`plugins.limits.memories_max`): build it from fewer modules, or raise the limit"
    );
}

#[tokio::test]
async fn sizes_are_bounded_before_anything_is_compiled() {
    let limits = PluginLimits {
        component_bytes_max: 4,
        ..PluginLimits::default()
    };
    insta::assert_snapshot!(
        refused(limits, b"(component)").await,
        @"has 11 bytes, at most 4 are allowed (`plugins.limits.component_bytes_max`): strip it, or raise the limit; is not a WebAssembly binary, a plugin must be a component: build it for the target wasm32-wasip2, or with cargo component, componentize-py or jco"
    );
}

#[tokio::test]
async fn describe_has_limits_too() {
    let limits = PluginLimits {
        core_instances_max: 1,
        ..PluginLimits::default()
    };
    insta::assert_snapshot!(
        refused(limits, built("hostile")).await,
        @"`describe` failed: exceeded the limit `plugins.limits.core_instances_max`: at most 1 core instances are allowed"
    );
}
