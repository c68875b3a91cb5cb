//! The calls about clusters and models.

use super::{Client, timed};
use crate::cli::failure::Refused;
use crate::cli::pb;

impl Client {
    /// All clusters.
    pub(in crate::cli) async fn clusters(&mut self) -> Result<Vec<pb::Cluster>, Refused> {
        let request = timed(pb::ListClustersRequest {});
        let answer = self.clusters.list_clusters(request).await?;
        Ok(answer.into_inner().clusters)
    }

    /// All models.
    pub(in crate::cli) async fn models(&mut self) -> Result<Vec<pb::Model>, Refused> {
        let request = timed(pb::ListModelsRequest {});
        let answer = self.clusters.list_models(request).await?;
        Ok(answer.into_inner().models)
    }

    /// Sets how many replicas of a model, by its whole name, shall run; `None` leaves it to the host.
    pub(in crate::cli) async fn scale(
        &mut self,
        name: &str,
        replicas: Option<i32>,
    ) -> Result<pb::Model, Refused> {
        let request = timed(pb::ScaleModelRequest {
            name: name.to_owned(),
            replicas,
        });
        Ok(self.clusters.scale_model(request).await?.into_inner())
    }

    pub(in crate::cli) async fn drain_cluster(
        &mut self,
        cluster: &str,
    ) -> Result<pb::Cluster, Refused> {
        let name = format!("clusters/{cluster}");
        let request = timed(pb::DrainClusterRequest { name });
        Ok(self.clusters.drain_cluster(request).await?.into_inner())
    }

    pub(in crate::cli) async fn resume_cluster(
        &mut self,
        cluster: &str,
    ) -> Result<pb::Cluster, Refused> {
        let name = format!("clusters/{cluster}");
        let request = timed(pb::ResumeClusterRequest { name });
        Ok(self.clusters.resume_cluster(request).await?.into_inner())
    }
}
