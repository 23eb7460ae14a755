//! docs/ and CONTRIBUTING.md: their commands run, one page after the other as a reader would type them, and answer what
//! is shown; what they say of fields, messages, sizes and files is so.
//!
//! A block of `sh` has to end well. A block of `console` shows commands behind `$ ` (`> ` goes on) with what they print,
//! or a session of redis-cli.
//! Blocks that cannot run here begin with the line `# not run by the tests:` and a reason; they are few.

mod clients;
mod conf_example;
mod fields;
mod messages;
mod page;
mod pages;
mod readme;
mod session;
mod sizes;
mod upgrade;
