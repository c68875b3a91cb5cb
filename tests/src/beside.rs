//! A deliberation beside others: whatever becomes of them, it ends as if it were alone.

use anyhow::ensure;

use crate::client::pb::deliberation::State;
use crate::client::{Client, answers, pb};
use crate::draft::vote;
use crate::patience::within;
use crate::stub_server::{Recorded, StubServer};

/// Its generations wait for a release, and no timeout of the host meets them meanwhile.
const MODEL: &str = "held:answer:yes";

/// A deliberation whose generations are in the model server, and stay there until it is let go.
#[derive(Debug)]
pub struct Beside {
    uid: String,
}

impl Beside {
    /// Starts it, and waits for its generations to come to the model server.
    ///
    /// # Errors
    /// When it is refused, or they do not come.
    pub async fn start(stub: &StubServer, client: &Client) -> anyhow::Result<Self> {
        let pb::Deliberation { uid, .. } = client.create(vote(&[MODEL; 2])).await?;
        let sent = stub.until(|requests| count(requests) == 2);
        within("the generations of the deliberation beside", sent).await?;
        Ok(Self { uid })
    }

    /// Lets it go on to its end.
    ///
    /// # Errors
    /// When it has ended before, or ends in another way than it would alone: with both answers,
    /// none of them asked for twice.
    pub async fn ends_unaffected(self, stub: &StubServer, client: &Client) -> anyhow::Result<()> {
        let running = client.get(&self.uid).await?;
        ensure!(running.state() == State::Running, "{running:?}");
        stub.release();
        let done = client.wait(&self.uid).await?;
        ensure!(answers(&done) == ["yes", "yes"], "{done:?}");
        let usage = done.usage.unwrap_or_default();
        let generations = (usage.generations, usage.generations_completed);
        ensure!(generations == (2, 2), "{usage:?}");
        let requests = stub.requests();
        ensure!(count(&requests) == 2, "{requests:?}");
        Ok(())
    }
}

fn count(requests: &[Recorded]) -> usize {
    let own = requests.iter().filter(|request| request.model == MODEL);
    own.count()
}
