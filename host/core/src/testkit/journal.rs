//! The journal's fake and the contract that every adapter meets.

mod contract;
mod ledger;
mod listing;
mod memory;
mod samples;

pub use contract::{
    a_batch_is_written_whole_or_not_at_all, a_finished_deliberation_takes_no_more,
    a_key_creates_once, an_append_at_another_place_is_fenced, an_id_is_created_once,
    an_unknown_id_is_not_found, contract, every_entry_reads_back_as_it_was_written,
    of_concurrent_creates_with_one_key_one_is_new, places_have_no_gaps,
    sessions_keep_their_order_under_concurrent_appends, the_totals_count_each_once,
    the_unfinished_are_listed_oldest_first,
};
pub use ledger::ledger_contract;
pub use listing::listing_contract;
pub use memory::{Fault, MemoryJournal};
pub use samples::{accepted, every_entry, finished, records};
