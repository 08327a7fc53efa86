//! Reads TCP options.

use super::{Cursor, ParseError};
use crate::script::{AccEcn, OptionList, SackBlock, TcpOption};

/// `<mss 1460,sackOK>`, `<...>`, or nothing at all.
pub(super) fn option_list(cursor: &mut Cursor<'_>) -> Result<OptionList, ParseError> {
    if !cursor.eat("<")? {
        return Ok(OptionList::These(Vec::new()));
    }
    if cursor.eat("...")? {
        cursor.expect(">")?;
        return Ok(OptionList::Any);
    }
    let mut options = Vec::new();
    loop {
        options.push(option(cursor)?);
        if cursor.eat(">")? {
            return Ok(OptionList::These(options));
        }
        cursor.expect(",")?;
    }
}

fn option(cursor: &mut Cursor<'_>) -> Result<TcpOption, ParseError> {
    let before = cursor.clone();
    let what =
        "a TCP option: nop, eol, mss, wscale, sackOK, sack, TS, FO, FOEXP, md5, ECN, opt, or `...`";
    let name = cursor.peek_word()?;
    if name.starts_with("mp")
        || matches!(
            name,
            "dss" | "add_address" | "add_addr" | "remove_address" | "rm_addr"
        )
    {
        return Err(cursor.error(format!(
            "MPTCP (`{name}`) is not among what this interpreter can do"
        )));
    }
    Ok(match cursor.word(what)? {
        "nop" => TcpOption::Nop,
        "eol" => TcpOption::Eol,
        "mss" => TcpOption::Mss(cursor.number("a segment size, at most 65535")?),
        "wscale" => TcpOption::WindowScale(cursor.number("a shift, at most 255")?),
        "sackOK" => TcpOption::SackPermitted,
        "sack" => TcpOption::Sack(blocks(cursor)?),
        "TS" => {
            cursor.expect("val")?;
            let value = cursor.number("a timestamp")?;
            cursor.expect("ecr")?;
            let echo = cursor.number("a timestamp")?;
            TcpOption::Timestamps { value, echo }
        }
        "FO" => TcpOption::FastOpen(data(cursor)?),
        "FOEXP" => TcpOption::FastOpenExperimental(data(cursor)?),
        "md5" => {
            let digest = data(cursor)?;
            match <[u8; 16]>::try_from(digest.as_slice()) {
                Ok(digest) => TcpOption::Md5(Some(digest)),
                Err(_) if digest.is_empty() => TcpOption::Md5(None),
                Err(_) => return Err(before.error("an MD5 digest has 16 bytes".to_owned())),
            }
        }
        "ECN" => TcpOption::AccEcn(counters(cursor)?),
        "opt" => TcpOption::Other(cursor.number("the option's kind")?, data(cursor)?),
        _ => return Err(before.expected(what)),
    })
}

fn blocks(cursor: &mut Cursor<'_>) -> Result<Vec<SackBlock>, ParseError> {
    let mut blocks = Vec::new();
    while cursor.peek()?.is_some_and(|next| next.is_ascii_digit()) {
        let left = cursor.number("a sequence number")?;
        cursor.expect(":")?;
        let right = cursor.number("a sequence number")?;
        blocks.push(SackBlock { left, right });
    }
    Ok(blocks)
}

/// Bytes in hexadecimal, or a name that is defined as such.
fn data(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, ParseError> {
    let before = cursor.clone();
    let word = cursor.until(&[',', '>'])?;
    let digits = cursor.defined(word).unwrap_or(word).trim_matches('"');
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let nibble = |digit: char| {
        digit
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let nibbles: Option<Vec<u8>> = digits.chars().map(nibble).collect();
    match nibbles {
        Some(nibbles) if nibbles.len().is_multiple_of(2) && nibbles.len() <= 76 => Ok(nibbles
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte: u8, digit| byte << 4 | digit))
            .collect()),
        _ => Err(before.expected("bytes in hexadecimal (at most 38), or a name given by -D")),
    }
}

fn counters(cursor: &mut Cursor<'_>) -> Result<Vec<(AccEcn, u32)>, ParseError> {
    let mut counters = Vec::new();
    loop {
        let counter = match cursor.peek_word()? {
            "e0b" => AccEcn::Ect0,
            "ceb" => AccEcn::Ce,
            "e1b" => AccEcn::Ect1,
            _ => break,
        };
        cursor.word("a counter")?;
        let value = cursor.number("a counter of 24 bits")?;
        if value > 0xff_ffff {
            return Err(cursor.error("AccECN's counters have 24 bits".to_owned()));
        }
        counters.push((counter, value));
    }
    let order: Vec<AccEcn> = counters.iter().map(|(counter, _)| *counter).collect();
    let known = [
        [AccEcn::Ect0, AccEcn::Ce, AccEcn::Ect1],
        [AccEcn::Ect1, AccEcn::Ce, AccEcn::Ect0],
    ];
    if known.iter().any(|known| known.starts_with(&order)) {
        Ok(counters)
    } else {
        Err(cursor.error("AccECN's counters go `e0b ceb e1b` or `e1b ceb e0b`".to_owned()))
    }
}
