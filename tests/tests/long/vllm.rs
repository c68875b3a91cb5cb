//! A real vLLM that runs as a job of a real Ray cluster.

use conclave_tests::host::Setup;
use conclave_tests::ray::RayPlace;
use conclave_tests::vllm::{Vllm, given};

use crate::engine::{self, Engine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vllm_on_an_old_cluster_serves_a_host_that_is_given_its_address() {
    let place = RayPlace::of(given("CONCLAVE_TEST_RAY_OLD").unwrap()).unwrap();
    let head = place.start().await.unwrap();
    let vllm = Vllm::start(&head).await.unwrap();
    let setup = Setup::bare().unwrap().arg("--endpoint").arg(vllm.url());
    let engine = Engine::of(setup, vllm.url()).await;
    engine::holds(&engine).await;
    drop(engine);
    vllm.stop().await.unwrap();
}
