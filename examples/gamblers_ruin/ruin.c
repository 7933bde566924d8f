/* The same as ruin.awk, and the same results to the last bit: cc -O2 -o ruin ruin.c */

#include <stdio.h>
#include <stdlib.h>

static double state;

static double uniform(void)
{
    state = (double)((long long)state * 16807 % 2147483647);
    return state / 2147483647;
}

int main(int count, char **words)
{
    if (count != 6) {
        fprintf(stderr, "usage: ruin P STAKE GOAL GAMES SEED\n");
        return 2;
    }
    double p = atof(words[1]);
    long stake = atol(words[2]), goal = atol(words[3]), games = atol(words[4]);
    long won = 0, steps = 0;

    state = (double)(atoll(words[5]) % 1000000000 + 1);
    for (long game = 0; game < games; game++) {
        long coins = stake;
        while (coins > 0 && coins < goal) {
            coins += uniform() < p ? 1 : -1;
            steps++;
        }
        won += coins > 0;
    }
    printf("{\"won\": %.17g, \"length\": %.17g}\n", (double)won / games, (double)steps / games);
    return 0;
}
