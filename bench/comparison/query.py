"""Asks DuckDB three things about every event of a log; prints the count and its own seconds.

Run by the interpreter that has the package, with the path of the log.
"""

import sys
import time

import duckdb

QUERY = """
SELECT count(*) FROM read_json(?, format = 'newline_delimited', maximum_object_size = 268435456, columns = {
    verb: 'VARCHAR',
    objectRef: 'STRUCT(resource VARCHAR, subresource VARCHAR)'
}) WHERE verb IN ('create', 'get') AND objectRef.resource = 'pods' AND objectRef.subresource = 'exec'
"""

connection = duckdb.connect()
connection.execute("SET threads = 1")
start = time.perf_counter()
count = connection.execute(QUERY, [sys.argv[1]]).fetchone()[0]
print(count, time.perf_counter() - start)
