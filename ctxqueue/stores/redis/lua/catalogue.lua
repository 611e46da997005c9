-- Reads the ids of one shard's workflows.
-- KEYS  1 all
-- ARGV  1 lower bound (ZRANGEBYLEX form)  2 limit
-- Returns {workflow, ...}.
-- Cost  O(log N + limit)
-- all: see open.lua.
return redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, tonumber(ARGV[2]))
