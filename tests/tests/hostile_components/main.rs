//! Components that no compiler of an honest language makes: built from text, and refused or ended by
//! the limit that they exceed.

mod compiling;
mod component;
mod describing;
mod mutations;
mod running;
