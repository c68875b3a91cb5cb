//! Packages: zip archives that the head keeps, and whose directory jobs run in.

use conclave_core::cluster::Error;
use reqwest::{Method, Request};

use super::call::{Answer, Dashboard};

/// What packages are that the head itself keeps.
const PROTOCOL: &str = "gcs";

impl Dashboard {
    /// As Ray's own client does: the question whether it is there also keeps it there for ten minutes, in
    /// which a job has to begin that uses it.
    pub(super) async fn upload(&self, name: &str, zip: Vec<u8>) -> Result<String, Error> {
        let file = format!("{name}.zip");
        let url = self.url(&["api", "packages", PROTOCOL, &file]);
        let uri = format!("{PROTOCOL}://{file}");
        if let Answer::Done(_) = self.get(url.clone()).await? {
            return Ok(uri);
        }
        let mut request = Request::new(Method::PUT, url);
        *request.body_mut() = Some(zip.into());
        match self.call(request).await? {
            Answer::Done(_) => Ok(uri),
            Answer::Refused(refused) => Err(self.rejected(&refused)),
        }
    }
}
