//! What wit-bindgen makes of the contract. Plugins use it through the `strategy!` and `scorer!`
//! macros only.
//!
//! The two worlds cannot be generated side by side: each would bring its own macro for the
//! interface `describe`, and both under one name. So the part that they share is generated once,
//! from the world `plugin-base`, and each world adds only what is its own. A plugin embeds the base
//! and one of them, which together are a world of the contract.
#![expect(
    clippy::too_many_arguments,
    reason = "the generated exports take one argument for each field"
)]

/// Imports and exports that both kinds of plugin have.
pub mod base {
    wit_bindgen::generate!({
        path: "wit",
        world: "plugin-base",
        pub_export_macro: true,
        export_macro_name: "export_base",
        default_bindings_module: "conclave_sdk::bindings::base",
        additional_derives: [PartialEq],
        generate_unused_types: true,
    });
}

/// What the world `strategy` adds to the base.
pub mod strategy {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package conclave:sdk;
            world strategy {
                import conclave:deliberation/scoring@0.1.0;
                use conclave:deliberation/types@0.1.0.{task, outcome};
                export deliberate: func(task: task) -> result<outcome, string>;
            }
        ",
        world: "conclave:sdk/strategy",
        pub_export_macro: true,
        export_macro_name: "export_strategy",
        default_bindings_module: "conclave_sdk::bindings::strategy",
        with: {
            "conclave:deliberation/scoring@0.1.0": generate,
            "conclave:deliberation/types@0.1.0": crate::bindings::base::conclave::deliberation::types,
        },
    });
}

/// What the world `scorer` adds to the base.
pub mod scorer {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package conclave:sdk;
            world scorer {
                use conclave:deliberation/types@0.1.0.{task, candidate, score};
                export evaluate: func(task: task, candidates: list<candidate>)
                    -> result<list<score>, string>;
            }
        ",
        world: "conclave:sdk/scorer",
        pub_export_macro: true,
        export_macro_name: "export_scorer",
        default_bindings_module: "conclave_sdk::bindings::scorer",
        with: {
            "conclave:deliberation/types@0.1.0": crate::bindings::base::conclave::deliberation::types,
        },
    });
}
