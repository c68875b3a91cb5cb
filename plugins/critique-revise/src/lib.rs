//! critique-revise.
