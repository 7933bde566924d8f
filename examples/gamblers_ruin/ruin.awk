# The gambler's ruin: with `stake` coins, win one with probability p or lose one, until none or
# `goal` are left. Prints the share of the games that were won, and their mean length, as JSON.
#
# The random numbers are those of Park and Miller (Communications of the ACM 31, 1988): exact in the
# floating-point numbers of any awk, so that every machine gets the same results.

function uniform() {
    state = state * 16807 % 2147483647
    return state / 2147483647
}

BEGIN {
    state = substr(seed, length(seed) - 8) + 1
    for (game = 0; game < games; game++) {
        coins = stake
        while (coins > 0 && coins < goal) {
            coins += uniform() < p ? 1 : -1
            steps++
        }
        won += coins > 0
    }
    printf "{\"won\": %.17g, \"length\": %.17g}\n", won / games, steps / games
}
