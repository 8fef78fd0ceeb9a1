"""A report on trained runs as one page of HTML: functions from plain values to text, put together in `report.py`."""
