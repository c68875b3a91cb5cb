//! Lists of deliberations.

use conclave_core::filter::Filter;
use conclave_core::ids::Tenant;
use conclave_core::listing::{Place, Query};
use tonic::Request;

use super::deliberation::{shorten, with_open};
use super::pages::{List, fits, size};
use super::{ConclaveV1, pb};
use crate::grpc::call::Call;
use crate::grpc::status::Refusal;

/// The one order that is served.
const NEWEST_FIRST: &str = "create_time desc";

impl ConclaveV1 {
    pub(super) async fn list(
        &self,
        request: Request<pb::ListDeliberationsRequest>,
    ) -> Result<pb::ListDeliberationsResponse, Refusal> {
        let tenant = Call::of(&request).caller.tenant.clone();
        let request = request.into_inner();
        let limit = size(request.page_size)?;
        let (list, query) = query(tenant, &request)?;
        let page = self.host.list.list(&query, limit).await?;
        let full = request.view() == pb::DeliberationView::Full;
        let mut next = page.next;
        let mut deliberations = Vec::with_capacity(page.views.len());
        let mut bytes = 0;
        let mut last = None;
        for (place, view) in &page.views {
            let mut one = with_open(view, &self.host.live);
            if !full {
                shorten(&mut one);
            }
            if !fits(&mut bytes, &one) {
                next = last;
                break;
            }
            deliberations.push(one);
            last = Some(*place);
        }
        Ok(pb::ListDeliberationsResponse {
            deliberations,
            next_page_token: next.map_or_else(String::new, |Place(place)| list.token(place)),
        })
    }
}

/// What is asked for, and the list that its tokens are of.
fn query(tenant: Tenant, request: &pb::ListDeliberationsRequest) -> Result<(List, Query), Refusal> {
    let order = request.order_by.trim();
    if !order.is_empty() && order != NEWEST_FIRST {
        let message = format!("order_by is `{order}`, it must be empty or `{NEWEST_FIRST}`");
        return Err(Refusal::field("order_by", message));
    }
    let filter = Filter::parse(&request.filter)
        .map_err(|error| Refusal::field("filter", error.to_string()))?;
    // There is one order, so that no token needs to be told from those of another.
    let list = List::of(&["deliberations", tenant.as_str(), request.filter.trim()]);
    let before = list.place(&request.page_token)?.map(Place);
    Ok((
        list,
        Query {
            tenant,
            filter,
            before,
        },
    ))
}
