update bench.hot set number = number + 1;
