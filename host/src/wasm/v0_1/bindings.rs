//! What wasmtime generates from `wit/0.1.0`: the strategy's world, and the scorer's on its types.

pub(super) mod strategy {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "strategy",
        imports: {
            "conclave:deliberation/inference.[method]job.wait": async | trappable,
            "conclave:deliberation/inference.[method]job-set.next": async | trappable,
            "conclave:deliberation/scoring.evaluate": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "conclave:deliberation/inference.job": crate::wasm::v0_1::host::Job,
            "conclave:deliberation/inference.job-set": crate::wasm::v0_1::host::JobSet,
        },
    });
}

pub(super) mod scorer {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "scorer",
        exports: { default: async },
        with: {
            "conclave:deliberation/types": super::strategy::conclave::deliberation::types,
            "conclave:deliberation/inference": super::strategy::conclave::deliberation::inference,
            "conclave:deliberation/context": super::strategy::conclave::deliberation::context,
            "conclave:deliberation/progress": super::strategy::conclave::deliberation::progress,
        },
    });
}
