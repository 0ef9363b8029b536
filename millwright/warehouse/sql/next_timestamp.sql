update warehouse.clock set last = greatest(clock_timestamp(), last + interval '1 microsecond') returning last
