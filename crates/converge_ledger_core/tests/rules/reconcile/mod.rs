//! Comparisons of two nodes: by example, against a naive one, with lying peers, and at size.

mod campaign;
mod examples;
mod holder;
mod large;
mod lying;
mod oracle;
