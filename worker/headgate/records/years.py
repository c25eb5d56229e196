"""The years 1 to 9999, which ISO 8601 writes with four digits, Python holds, and PostgreSQL reads as we write them."""

from datetime import date

import polars as pl

EPOCH = date(1970, 1, 1)
FIRST_DAY, LAST_DAY = (date.min - EPOCH).days, (date.max - EPOCH).days
DAY = 24 * 60 * 60  # seconds


def within_years(value: pl.Expr, dtype: pl.Date | pl.Datetime) -> pl.Expr:
    """Return whether dates or datetimes are in these years; in UTC if they have a zone."""
    number = value.to_physical()
    if not isinstance(dtype, pl.Datetime):
        return number.is_between(FIRST_DAY, LAST_DAY)
    if dtype.time_unit == "ns":
        return number.is_not_null()  # nanoseconds span only 1677 to 2262
    second = 10**6 if dtype.time_unit == "us" else 10**3
    return number.is_between(FIRST_DAY * DAY * second, (LAST_DAY + 1) * DAY * second - 1)


def iso(value: pl.Expr, dtype: pl.Date | pl.Datetime) -> pl.Expr:
    """Write dates and datetimes in ISO 8601; outside these years, write a number, which is not read as a date."""
    near: pl.Expr = pl.when(within_years(value, dtype)).then(value)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        # In UTC, because a written offset has no seconds, but historical zones had offsets with seconds.
        near = near.dt.convert_time_zone("UTC")
    unit = dtype.time_unit if isinstance(dtype, pl.Datetime) else "days"
    return pl.coalesce(near.dt.to_string("iso:strict"), value.to_physical().cast(pl.String) + f" {unit} since 1970")
