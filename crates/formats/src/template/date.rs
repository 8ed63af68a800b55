//! The day that a template may name.

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// A day; none if there is no such month, or no such day in any month.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Date> {
        let exists = (1..=12).contains(&month) && (1..=31).contains(&day);
        exists.then_some(Date { year, month, day })
    }

    /// As Python's `strftime` writes it, of which the templates of published models use the day, the month and the year.
    pub(super) fn written(self, format: &str) -> Result<String, Error> {
        let mut text = String::new();
        let mut rest = format.chars();
        while let Some(character) = rest.next() {
            let month = MONTHS[usize::from(self.month) - 1];
            match (character, if character == '%' { rest.next() } else { None }) {
                ('%', Some('d')) => text += &format!("{:02}", self.day),
                ('%', Some('m')) => text += &format!("{:02}", self.month),
                ('%', Some('b')) => text += &month[..3],
                ('%', Some('B')) => text += month,
                ('%', Some('Y')) => text += &format!("{:04}", self.year),
                ('%', Some('y')) => text += &format!("{:02}", self.year % 100),
                ('%', Some('%')) => text.push('%'),
                ('%', _) => {
                    return Err(Error::new(ErrorKind::InvalidOperation, "strftime_now knows d, m, b, B, Y and y"));
                }
                (other, _) => text.push(other),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_as_python_does() {
        let day = Date::new(2026, 3, 7).unwrap();
        assert_eq!(day.written("%d %b %Y, %B, %y-%m %%").unwrap(), "07 Mar 2026, March, 26-03 %");
        assert!(day.written("%H").is_err() && day.written("%").is_err());
        assert_eq!((Date::new(2026, 13, 1), Date::new(2026, 1, 0)), (None, None));
    }
}
