//! Both forms of connection strings, read as by libpq's `conninfo_parse` and `conninfo_uri_parse`. Text that libpq would
//! read as part of a host or a database, and that is more likely the rest of a password, is refused.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

type Pairs = Vec<(String, String)>;

/// The parameters in the order in which they were written. Names are not checked.
pub(super) fn read(text: &str) -> Result<Pairs, &'static str> {
    match text.strip_prefix("postgresql://").or(text.strip_prefix("postgres://")) {
        Some(rest) => url(rest),
        None if has_scheme(text) => Err("it is not a postgresql:// URL"),
        None => key_values(text),
    }
}

fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

const AT: &str = "it has one @ too many: write @ in the user or the password as %40, and / as %2F";

fn url(mut text: &str) -> Result<Pairs, &'static str> {
    let mut pairs = Pairs::new();
    let mut add = |name: &str, value: &str| {
        pairs.push((name.to_owned(), percent_decoded(value)?));
        Ok::<_, &str>(())
    };
    let login = text.find(['@', '/']).filter(|&end| text[end..].starts_with('@'));
    if let Some(end) = login {
        let (user, password) = text[..end].split_once(':').unwrap_or((&text[..end], ""));
        add("user", user)?;
        add("password", password)?;
        text = &text[end + 1..];
    }
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    if address.contains('@') || login.is_some() && query.contains('@') {
        return Err(AT);
    }
    let (hosts, database) = address.split_once('/').unwrap_or((address, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = host_and_port(host)?;
        names.push(name);
        ports.push(port);
    }
    add("host", &names.join(","))?;
    if ports.iter().any(|port| !port.is_empty()) {
        add("port", &ports.join(","))?;
    }
    add("dbname", database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("a parameter of the URL has no =")?;
        if value.contains('=') {
            return Err("a parameter of the URL has two =: write = in a value as %3D");
        }
        match (percent_decoded(name)?.as_str(), value) {
            // As JDBC writes it.
            ("ssl", "true") => add("sslmode", "require")?,
            (name, value) => add(name, value)?,
        }
    }
    Ok(pairs)
}

fn host_and_port(host: &str) -> Result<(&str, &str), &'static str> {
    let Some(address) = host.strip_prefix('[') else {
        return Ok(host.split_once(':').unwrap_or((host, "")));
    };
    let (address, rest) = address.split_once(']').ok_or("an IPv6 address has no ]")?;
    match rest.strip_prefix(':') {
        _ if address.is_empty() => Err("an IPv6 address is empty"),
        Some(port) => Ok((address, port)),
        None if rest.is_empty() => Ok((address, "")),
        None => Err("there is text between an IPv6 address and its port"),
    }
}

fn key_values(text: &str) -> Result<Pairs, &'static str> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=').ok_or("a parameter has no =")?;
        let name = name.trim_end();
        if name.contains(char::is_whitespace) {
            return Err("a parameter has no =: quote values that contain spaces");
        }
        let (value, behind) = value(behind.trim_start())?;
        pairs.push((name.to_owned(), value));
        rest = behind.trim_start();
    }
    Ok(pairs)
}

/// The value at the beginning of `text`, which may be quoted and have backslash escapes, and what follows it.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let quoted = text.starts_with('\'');
    let text = if quoted { &text[1..] } else { text };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            _ if !quoted && character.is_ascii_whitespace() => return Ok((value, &text[at..])),
            _ => value.push(character),
        }
    }
    if quoted { Err("a quoted value is not terminated") } else { Ok((value, "")) }
}

/// Stricter than the crate: refuses a `%` without two hexadecimal digits, and a NUL byte.
fn percent_decoded(text: &str) -> Result<String, &'static str> {
    let is_code = |code: &[u8]| code != b"00" && code.iter().all(u8::is_ascii_hexdigit);
    if !text.split('%').skip(1).all(|rest| rest.as_bytes().get(..2).is_some_and(is_code)) {
        return Err("% is not followed by two hexadecimal digits: write it as %25");
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| "it is not UTF-8")
}
