"""Bills: what providers say was used, compared with what was booked; past periods priced anew; what will be spent."""
