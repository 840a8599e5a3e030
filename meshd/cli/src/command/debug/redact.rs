//! Takes secrets out of text. meshd's documents and configuration have none by design; this is for what people
//! write where it does not belong: a key pasted instead of a file name, a password in an address.

/// What stands for a secret.
const HIDDEN: &str = "REDACTED";

/// Words in keys whose value is hidden, in lower case. `secretFile` and `presharedKeyFile` name files.
const WORDS: [&str; 8] = [
    "secret",
    "preshared",
    "private",
    "password",
    "passwd",
    "token",
    "psk",
    "authorization",
];

/// Length of a 32-byte key in base64.
const KEY_LENGTH: usize = 44;

/// The text without secrets, line by line.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut block: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        // A value that goes on over further lines is hidden with its key.
        if let Some(outer) = block {
            if line.trim().is_empty() || indent > outer {
                continue;
            }
            block = None;
        }
        if let Some((key, _)) = value_of(line).filter(|(key, value)| is_secret(key, value)) {
            out.push_str(&format!("{key} {HIDDEN}\n"));
            block = Some(indent);
            continue;
        }
        out.push_str(&credentials(&keys(line)));
        out.push('\n');
    }
    out
}

/// `key:` or `key=` with what is before it, and the value.
fn value_of(line: &str) -> Option<(&str, &str)> {
    let end = line.find([':', '='])?;
    Some(line.split_at(end + 1))
}

fn is_secret(key: &str, value: &str) -> bool {
    let key = key.to_lowercase();
    let key = key.trim_end_matches([':', '=', '"', ' ']);
    // A file name is no secret, unless somebody put the secret itself there.
    let names_file = key.ends_with("file") && (value.contains('/') || value.trim().is_empty());
    // Prose that happens to have a colon is no key.
    let plain = key
        .trim_start_matches(['-', ' ', '"', '{'])
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    plain && !names_file && WORDS.iter().any(|word| key.contains(word))
}

/// Hides base64 keys on lines that do not call them public.
fn keys(line: &str) -> String {
    let lower = line.to_lowercase();
    if lower.contains("public") {
        return line.to_owned();
    }
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let mut out = String::with_capacity(line.len());
    let mut word = String::new();
    for c in line.chars().chain(['\n']) {
        if is_base64(c) {
            word.push(c);
            continue;
        }
        let key = word.len() >= KEY_LENGTH && word.trim_start_matches('=').ends_with('=');
        out.push_str(if key { HIDDEN } else { &word });
        word.clear();
        if c != '\n' {
            out.push(c);
        }
    }
    out
}

/// Hides `user:password@` in addresses.
fn credentials(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find("://") {
        let (head, tail) = rest.split_at(start + 3);
        out.push_str(head);
        let end = tail
            .find(['/', ' ', '"', '\'', ',', ']'])
            .unwrap_or(tail.len());
        let (authority, after) = tail.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => out.push_str(&format!("{HIDDEN}@{host}")),
            None => out.push_str(authority),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (before, after) in [
            (
                "  secretFile: /etc/meshd/cluster.secret",
                "  secretFile: /etc/meshd/cluster.secret",
            ),
            ("  secretFile: abc", "  secretFile: REDACTED"),
            ("    presharedKey: hunter2", "    presharedKey: REDACTED"),
            ("- privateKey: x", "- privateKey: REDACTED"),
            ("\"token\": \"x\",", "\"token\": REDACTED"),
            (
                "servers: [https://u:p@d.example:7400]",
                "servers: [https://REDACTED@d.example:7400]",
            ),
            (
                "servers: [https://d.example:7400]",
                "servers: [https://d.example:7400]",
            ),
            ("node: fra", "node: fra"),
        ] {
            assert_eq!(text(before), format!("{after}\n"));
        }
        assert_eq!(text(&format!("x: {KEY}")), "x: REDACTED\n");
        assert_eq!(
            text(&format!("publicKey: {KEY}")),
            format!("publicKey: {KEY}\n")
        );
        assert_eq!(
            text("secret: |\n  line one\n  line two\nzone: a\n"),
            "secret: REDACTED\nzone: a\n"
        );
        let problem = "\"message\": \"wrong_secret: http://d refuses this node\"";
        assert_eq!(text(problem), format!("{problem}\n"));
    }
}
