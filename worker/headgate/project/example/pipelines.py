"""The pipelines of this project: orders from CSV files, one row per order."""

import dataframely as dy
import polars as pl
from headgate import Csv, Folder, Pipeline, Table


class Order(dy.Schema):
    """An order as the shop exports it. A row that breaks a rule is set aside as a dead letter."""

    order_id = dy.Int64(primary_key=True, min=1)
    ordered_at = dy.Datetime(nullable=False, time_zone="UTC")
    customer = dy.String(nullable=False, min_length=1)
    quantity = dy.Int32(nullable=False, min=1)
    price = dy.Float64(nullable=False, min=0)


def total(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the order's total price."""
    return frame.with_columns(total=(pl.col("quantity") * pl.col("price")).round(2))


orders = Pipeline(
    name="orders",
    sources=(Folder("orders", patterns=("*.csv",)),),
    schema=Order,
    formats=(Csv(),),
    enrich=(total,),
    sink=Table("orders", mode="upsert"),
)

PIPELINES = (orders,)
