delete from {tiles}
