//! The only place with `unsafe`: how we call the server (`api`), how it calls us (`callbacks`, `datatype`, `settings`,
//! `waiting`), what its ACL says (`acl`), its allocator with our counts (`alloc`), what belongs to its main thread
//! (`main_thread`), and what it is told of our commands (`docs`).

pub mod acl;
pub mod alloc;
pub mod api;
pub mod blocking;
pub mod callbacks;
pub mod command_info;
pub mod datatype;
pub mod main_thread;
pub mod settings;
