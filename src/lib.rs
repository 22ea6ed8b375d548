//! placeholder
pub mod object; pub mod catalog; pub mod record; pub mod window; pub mod flatten;
