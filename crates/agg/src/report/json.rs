//! Indents JSON without changing it otherwise. No I/O.
//!
//! serde_json would parse the numbers and print them in another spelling (`2.50` as `2.5`), or reject them (`1e400`).

/// Returns JSON with one member per line. Text that is not JSON keeps its characters.
pub fn indent(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut inside, mut escaped) = (0usize, false, false);
    let mut characters = json.chars().peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        // Limited, so that indentation cannot turn a line into a page.
        (0..depth.min(20)).for_each(|_| text.push_str("  "));
    };
    while let Some(character) = characters.next() {
        if inside {
            text.push(character);
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => inside = false,
                _ => {}
            }
            continue;
        }
        match character {
            '{' | '[' => {
                text.push(character);
                if matches!(characters.peek(), Some('}' | ']')) {
                    text.extend(characters.next());
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(',');
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            '"' => {
                inside = true;
                text.push('"');
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_otherwise_unchanged() {
        assert_eq!(
            indent(r#"{"a":[1,2.50],"b":{},"c":"x,{\"]","d":1e400}"#),
            "{\n  \"a\": [\n    1,\n    2.50\n  ],\n  \"b\": {},\n  \"c\": \"x,{\\\"]\",\n  \"d\": 1e400\n}"
        );
        assert_eq!(indent("]]"), "\n]\n]");
    }
}
