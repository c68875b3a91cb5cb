//! Lists deliberations, newest first.

use crate::chain::Chain;
use std::sync::Arc;

use async_trait::async_trait;

use crate::entry::{Accepted, Record};
use crate::filter::Filter;
use crate::ids::{DeliberationId, Seq, Tenant};
use crate::journal::{Error, Journal};
use crate::view::View;

/// Which deliberations are listed.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Whose.
    pub tenant: Tenant,
    /// Which of them.
    pub filter: Filter,
    /// Those that were accepted before this one; `None` for all.
    pub before: Option<Place>,
}

/// Where a deliberation stands in the order of acceptance: what is accepted later has a higher place,
/// so that pages do not shift while new ones arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u64);

/// A deliberation in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Where it stands.
    pub place: Place,
    /// As it was accepted.
    pub accepted: Box<Accepted>,
    /// Its last record, when it has finished.
    pub end: Option<Box<Record>>,
}

/// Some of the deliberations that a query asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Newest first; there may be none although more follow.
    pub listed: Vec<Listed>,
    /// Behind which place to go on; `None` when nothing follows.
    pub next: Option<Place>,
}

/// Finds deliberations by what they are. A deliberation is there as soon as
/// [`Journal::create`] has answered.
#[async_trait]
pub trait Listing: Send + Sync {
    /// At most `limit` deliberations (at least 1), newest first. One call looks at a bounded number of
    /// deliberations, so that a filter that few pass does not hold up others. One whose records are
    /// damaged is left out: it has no facts to show.
    async fn page(&self, query: &Query, limit: usize) -> Result<Page, Error>;
}

/// Shows lists of deliberations.
#[derive(Clone)]
pub struct ListDeliberations {
    listing: Arc<dyn Listing>,
    journal: Arc<dyn Journal>,
}

/// Deliberations as they are now.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// Each with its place, newest first.
    pub views: Vec<(Place, View)>,
    /// As [`Page::next`].
    pub next: Option<Place>,
}

impl ListDeliberations {
    /// Lists what is there, from its records in the journal.
    #[must_use]
    pub fn new(listing: Arc<dyn Listing>, journal: Arc<dyn Journal>) -> Self {
        Self { listing, journal }
    }

    /// At most `limit` deliberations as they are now. One that ends meanwhile may show its end
    /// although the filter asks for those that run.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(&self, query: &Query, limit: usize) -> Result<Views, Error> {
        let page = self.listing.page(query, limit).await?;
        let mut views = Vec::with_capacity(page.listed.len());
        for listed in page.listed {
            let ended = listed.end.as_deref();
            let view = match ended.and_then(|end| View::ended(&listed.accepted, end)) {
                Some(view) => Some(view),
                None => self.running(&listed.accepted.id).await?,
            };
            views.extend(view.map(|view| (listed.place, view)));
        }
        Ok(Views {
            views,
            next: page.next,
        })
    }

    async fn running(&self, id: &DeliberationId) -> Result<Option<View>, Error> {
        match self.journal.read(id, Seq::START).await {
            Ok(records) => Ok(View::of(&records)),
            Err(error @ (Error::Corrupt { .. } | Error::Unsupported { .. })) => {
                tracing::warn!(%id, error = %Chain(&error), "a deliberation cannot be listed");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Debug for ListDeliberations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListDeliberations").finish_non_exhaustive()
    }
}
