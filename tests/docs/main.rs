//! docs/ and CONTRIBUTING.md: their commands run as a reader would type them and print what is shown; what they say
//! about fields, messages, sizes and files is correct.
//!
//! A block of `sh` has to succeed. A block of `console` shows commands after `$ ` (continued after `> `) with their
//! output, or a session of redis-cli. Blocks that cannot run here begin with the line `# not run by the tests:` and a
//! reason; they are few.

mod architecture;
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
