//! Tags, as arguments of commands.

/// Parses a tag: `name:value`, or a name without a value.
///
/// # Errors
/// The tag contains white space, or its name is empty.
pub fn tag(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with(':') {
        return Err("expected name:value, the name not empty".into());
    }
    if text.contains(|c: char| c.is_whitespace()) {
        return Err("a tag contains no spaces: give --tag once for each".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_a_name_and_no_spaces() {
        assert_eq!(tag("rack:a1"), Ok("rack:a1".into()));
        assert_eq!(tag("prod"), Ok("prod".into()));
        assert_eq!(tag("a:"), Ok("a:".into()));
        assert!(tag("").is_err() && tag(":v").is_err());
        assert!(tag("a:b c").unwrap_err().contains("no spaces"));
        assert!(tag("a:b\nc:d").is_err());
    }
}
