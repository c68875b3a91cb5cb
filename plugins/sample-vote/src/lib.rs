//! sample-vote.
