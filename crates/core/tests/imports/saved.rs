//! Saved imports, and hostile payloads.
