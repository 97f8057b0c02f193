//! Black-box tests of the tools: what users and elements rely on, observed from outside.
//!
//! Toy elements stand in for distributions: `fixtures/elements` holds a root made of the host's own tools, and every
//! test writes the probes that it needs.

mod assemble;
mod command_lines;
mod documents;
mod downloads;
mod finalisation;
mod hooks;
mod images;
mod killing;
mod lab;
mod messages;
mod operator;
mod lint;
mod outputs;
mod plans;
mod records;
mod repeat;
mod resolution;
mod room;
mod run_parts;
mod rung;
mod shell_library;
mod sizes;
mod sources;
mod terminal;
mod tiers;
